"""Time to the first step of a run, and time of a study that has nothing left to do."""

from collections.abc import Iterator
from functools import partial

from benchmarks.timing import Row, Setting, in_turns, run_ours, seconds

GUARDED = True
IMPORTS = "import os, torch, lightning, timm, mlflow; os._exit(0)"  # without it, Python takes 1.5 s more to free them
FIRST_STEP = """
import os, sys
import emotion_lightning.training.callbacks as callbacks
from emotion_lightning.cli.main import main
callbacks.ReportEpoch.on_train_batch_end = lambda *_: os._exit(7)
sys.argv = ["emotion-lightning", "train", "demo"]
main()
"""


def rows(setting: Setting) -> Iterator[Row]:
    run_in_work = partial(run_ours, cwd=setting.work)
    study = ("-m", "emotion_lightning", "study", "demo_start")
    (setting.work / "experiments" / "studies").mkdir(parents=True)
    (setting.work / "experiments" / "studies" / "demo_start.yaml").write_text(
        "arms: {demo_svm: }\nprotocols: {speaker_folds: {folds: 5, seeds: 4}}\n"
    )
    run_in_work(*study)  # trains 20 runs and fills the cache
    run_in_work("-c", FIRST_STEP, status=7)
    imports, first, nothing = in_turns(
        setting.rounds,
        lambda: seconds(lambda: run_in_work("-c", IMPORTS)),
        lambda: seconds(lambda: run_in_work("-c", FIRST_STEP, status=7)),
        lambda: seconds(lambda: run_in_work(*study)),
    )
    yield Row(
        "make train to the end of the first step, warm",
        first,
        "s",
        imports,
        "importing its libraries",
        guard=1.6,
        at_most=True,
    )
    yield Row(
        "make study of 20 finished runs, report written",
        nothing,
        "s",
        imports,
        "importing its libraries",
        guard=2.2,
        at_most=True,
    )
