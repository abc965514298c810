"""One trial of a search: its inner folds, when it is pruned, how it is scored, and that it reads no test clip."""

import io
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from optuna.trial import TrialState
from rich.console import Console
from searches import children, parents, quiet, study_of

from emotion_lightning.config import loader as settings
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import make_split
from emotion_lightning.training.build import build_data
from emotion_lightning.tuning.inner import inner_splits
from emotion_lightning.tuning.request import make_request
from emotion_lightning.tuning.trial import run_trial


def test_a_network_is_pruned_between_epochs_and_the_next_one_can_be_trained(search_folder: Path) -> None:
    experiment = make_request("n", [], 1).experiment
    steps: list[tuple[float, int]] = []

    def report(value: float, step: int) -> bool:
        steps.append((value, step))
        return step == 4  # the first epoch of the second fold

    terminal = Console(file=io.StringIO(), force_terminal=True)  # with a bar, which has to end as well
    trial = run_trial(experiment, 2, {}, report, terminal)
    assert trial.pruned and len(trial.uars) == 1 and [step for _, step in steps] == [1, 2, 3, 4]
    client = MlflowClient()
    uars = {
        fold: [m.value for m in client.get_metric_history(trial.run_id, f"inner{fold}/uar/val")] for fold in (0, 1)
    }
    assert [value for value, _ in steps] == pytest.approx(
        [*np.maximum.accumulate(uars[0]), (max(uars[0]) + uars[1][0]) / 2]
    )
    assert client.get_run(trial.run_id).info.status == "FINISHED"
    again = run_trial(experiment, 2, {}, lambda value, step: step == 6, terminal)
    assert not again.pruned and again.uars[0] == trial.uars[0]  # the last epoch has nothing to save


def test_a_network_is_scored_by_its_chosen_epoch(search_folder: Path) -> None:
    trial = run_trial(
        make_request("n", ["fit.keep=last"], 1).experiment,
        2,
        {},
        lambda *_: False,
        Console(quiet=True),
    )
    last = [MlflowClient().get_metric_history(trial.run_id, f"inner{fold}/uar/val")[-1] for fold in (0, 1)]
    assert trial.uars == pytest.approx([metric.value for metric in last]) and {m.step for m in last} == {3}


@pytest.mark.parametrize(
    ("protocol", "group"),
    [
        ("{name: speaker_folds, folds: 3}", "speaker"),
        ("{name: text_independent}", "sentence"),
        ("{name: random}", "content"),
        ("{name: leaky_rows, i_know_this_leaks: true}", "content"),
    ],
)
def test_inner_folds_are_of_whole_groups_and_hold_no_test_clip(
    search_folder: Path, protocol: str, group: str
) -> None:
    experiment = settings.load("s", [f"protocol={protocol}", "augment={copies: {}}"])
    data = build_data(experiment, Console(quiet=True))
    splits = inner_splits(data, 3)
    closed, clips = set(data.split.test.tolist()), data.clips
    source = [clip.id.removesuffix(f"#{clip.variant}") if clip.variant else clip.id for clip in clips]
    for split in splits:
        train, val = split.train.tolist(), split.val.tolist()
        assert train and val and not len(split.test) and not closed & {*train, *val}
        assert not {getattr(clips[i], group) for i in train} & {getattr(clips[i], group) for i in val}
        assert not {(clips[i].corpus, source[i]) for i in train} & {(clips[i].corpus, source[i]) for i in val}
        assert not any(clips[i].variant for i in val) and any(clips[i].variant for i in train)
    scored = sorted(i for split in splits for i in split.val.tolist())
    sides = np.concatenate([data.split.train, data.split.val]).tolist()
    assert scored == sorted(i for i in sides if not clips[i].variant)  # each clip once


def test_a_search_reads_no_test_clip(search_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[EmotionData] = []

    class Noted(EmotionData):
        def setup(self, stage: str | None = None) -> None:
            super().setup(stage)
            opened.append(self)

    monkeypatch.setattr("emotion_lightning.training.build.EmotionData", Noted)
    quiet("n", 1, folds=2)
    assert len(opened) >= 2
    for data in opened:
        test = make_split(data.clips, "speaker_folds", {"folds": 3}).test
        assert len(test) and data.access_log.count(None, test) == 0
    fitted = make_split(opened[-1].clips, "speaker_folds", {"folds": 3})
    assert opened[-1].access_log.count("fit", np.concatenate([fitted.train, fitted.val])) > 0


def test_a_search_that_reads_a_test_clip_fails(search_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Peeking(EmotionData):
        def gather(self, index, device):  # type: ignore[no-untyped-def]
            self.access_log.record(make_split(self.clips, "speaker_folds", {"folds": 3}).test[:5])
            return super().gather(index, device)

    monkeypatch.setattr("emotion_lightning.training.build.EmotionData", Peeking)
    with pytest.raises(UserError, match="audit: 5 test clips were read in the search"):
        quiet("s", 2)
    [parent] = parents()
    [child] = children(parent)
    assert parent.info.status == child.info.status == "FAILED"
    assert child.data.tags["audit"] == "BROKEN: 5 test clips were read in the search"
    assert [t.state for t in study_of("s").trials] == [TrialState.FAIL]
    assert not Path("experiments/s_tuned.yaml").exists()
