"""One trial of a search: one experiment, trained on each inner fold, as one MLflow run."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from statistics import fmean

import lightning as L
import mlflow
from mlflow.exceptions import MlflowException
from optuna import TrialPruned
from rich.console import Console

from emotion_lightning.audit import summary
from emotion_lightning.config.schema import Experiment
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import Split
from emotion_lightning.tracking import run as tracking
from emotion_lightning.tracking import signals
from emotion_lightning.tracking.run import Tracked
from emotion_lightning.train import work_folder
from emotion_lightning.training.build import build_data, build_model
from emotion_lightning.training.fit import fit
from emotion_lightning.training.inference import Model
from emotion_lightning.training.run_logging import run_tags
from emotion_lightning.training.schedule import cycles
from emotion_lightning.tuning.inner import inner_splits

STATE_TAG = "trial/state"  # running, complete, pruned, killed

Report = Callable[[float, int], bool]
"""Called with the mean UAR so far and a step; returns whether the trial is worse than others were at that step."""


@dataclass
class Trial:
    """What became of a trial. `uars` are those of the inner folds that were finished."""

    run_id: str
    uars: list[float] = field(default_factory=list)
    pruned: bool = False


def build_on_fold(data: EmotionData, split: Split) -> Model:
    """Builds a model for one inner fold, with the random numbers of the experiment's seed."""
    data.split = split
    data.feature.train()  # the model of an earlier fold, which shares it, has left it in evaluation mode
    L.seed_everything(data.experiment.seed, verbose=False)
    return build_model(data)


def run_trial(
    experiment: Experiment,
    folds: int,
    tags: Mapping[str, str],
    report: Report,
    console: Console,
) -> Trial:
    """Trains without each inner fold and scores it. The run keeps curves and scores, and no model files.

    Raises: UserError if a test clip was read, and for settings that do not fit together.
    """
    fit_settings = experiment.fit.model_copy(update={"refit": False, "log_model": False})
    experiment = experiment.model_copy(update={"fit": fit_settings})
    data = build_data(experiment, Console(quiet=True))
    outer, splits = data.split, inner_splits(data, folds)
    model = build_on_fold(data, splits[0])  # before the run is opened, so that a wrong setting leaves none
    data.split = outer
    all_tags = {**run_tags(experiment, data, model), **tags, STATE_TAG: "running"}
    del all_tags["signature"]  # a study finds its runs by it, and would take this one for a run to resume
    with tracking.run(experiment, all_tags, None) as tracked, _tagged_if_killed():
        trial = Trial(tracked.id)
        try:
            _score(trial, data, splits, tracked, report, console)
        except TrialPruned:
            trial.pruned = True
        finally:
            shutil.rmtree(work_folder(tracked.id), ignore_errors=True)
        data.split = outer
        check_no_test_clip_read(data, mlflow.set_tag)
        mlflow.set_tag(STATE_TAG, "pruned" if trial.pruned else "complete")
        if not trial.pruned:
            tracked.log_final({"tune/uar": fmean(trial.uars)})
    return trial


@dataclass
class _FoldCurve:
    """Logs the epochs of one inner fold, and stops the trial where it is worse than others were."""

    trial: Trial
    tracked: Tracked
    report: Report
    fold: int
    folds: int
    epochs: int
    uars: list[float] = field(default_factory=list)  # of the validation clips, by epoch

    def on_epoch(self, figures: dict[str, float], epoch: int) -> None:
        """Raises TrialPruned where `report` says so, except in the last epoch, where nothing would be saved."""
        self.tracked.log_epoch({f"inner{self.fold}/{name}": value for name, value in figures.items()}, epoch)
        self.uars.append(figures["uar/val"])
        step = self.fold * self.epochs + epoch
        is_worse = self.report(fmean([*self.trial.uars, max(self.uars)]), step)
        if is_worse and step < self.folds * self.epochs:
            raise TrialPruned


def _score(
    trial: Trial, data: EmotionData, splits: list[Split], tracked: Tracked, report: Report, console: Console
) -> None:
    """Appends the UAR of each inner fold to the trial: that of the chosen epoch.

    Raises: TrialPruned where `report` says that others were better.
    """
    folder, last = work_folder(tracked.id), cycles(data.experiment.fit.stages)[-1]
    for fold, split in enumerate(splits):
        model = build_on_fold(data, split)
        epochs = last.first + last.epochs if model.trains_in_steps else 1
        curve = _FoldCurve(trial, tracked, report, fold, len(splits), epochs)
        fitted = fit(data, model, folder / f"inner{fold}", curve.on_epoch, console)
        trial.uars.append(curve.uars[(fitted.epoch or 1) - 1])
        tracked.log_final({f"tune/uar_inner{fold}": trial.uars[-1]})


@contextmanager
def _tagged_if_killed() -> Iterator[None]:
    """Tags the open run where the search is killed, as it does for other ends of a trial."""
    try:
        yield
    except signals.Killed:
        with suppress(MlflowException):
            mlflow.set_tag(STATE_TAG, "killed")
        raise


def check_no_test_clip_read(data: EmotionData, set_tag: Callable[[str, str], object]) -> None:
    """Tags a run with whether a clip of the protocol's test split was read, for any purpose.

    Raises: UserError if there is one.
    """
    count = data.count_reads(None, "test")
    if count:
        set_tag(summary.TAG, f"BROKEN: {count} test clips were read in the search")
        raise UserError(f"audit: {count} test clips were read in the search, which must not know them")
    set_tag(summary.TAG, "ok: no test clip was read in the search")
