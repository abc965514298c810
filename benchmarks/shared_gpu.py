"""Several small runs on one GPU: a study of eight runs with JOBS=4, against the same study with JOBS=1."""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.timing import Row, Setting, Unavailable, in_turns, run_ours, seconds

RUNS = 8
STUDY = """
arms:
  small:
    experiment: resnet_mini_aug
    set: {corpora: {ravdess: off, savee: off, demo: {speakers: 24, takes: 2}}}
protocols: {speaker_folds: {folds: 2, seeds: 4}}
"""


def rows(setting: Setting) -> Iterator[Row]:
    if not torch.cuda.is_available():
        raise Unavailable("it needs a GPU")
    four, one = in_turns(min(setting.rounds, 3), *(partial(runs_per_minute, setting, jobs) for jobs in (4, 1)))
    yield Row("eight runs of resnet_mini_aug, JOBS=4", four, "runs/min", one, "JOBS=1", goal=2.5)


def runs_per_minute(setting: Setting, jobs: int) -> float:
    """Runs the study and returns its runs per minute.

    Each study has a new store, because finished runs are not trained again. The first one fills the cache.
    """
    work = setting.work / f"turn{len(list(setting.work.iterdir()))}"
    (work / "experiments" / "studies").mkdir(parents=True)
    (work / "experiments" / "studies" / "eight.yaml").write_text(STUDY)
    command = ("study", "eight", "--jobs", str(jobs), "--cache", str(setting.work / "cache"))
    return RUNS * 60 / seconds(lambda: run_ours("-m", "emotion_lightning", *command, cwd=work))
