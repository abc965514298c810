"""Runs a search: opens or continues it, runs the trials that are missing, and writes what it found."""

import shutil
from collections.abc import Mapping
from functools import partial
from statistics import fmean, stdev
from typing import Any

from filelock import FileLock, Timeout
from mlflow.tracking import MlflowClient
from optuna.study import Study
from optuna.trial import Trial as OptunaTrial
from optuna.trial import TrialState
from rich.console import Console

from emotion_lightning.config.ranks import resolve_ranks
from emotion_lightning.errors import UserError
from emotion_lightning.studies.preflight import require_writable
from emotion_lightning.studies.state import PARENT_TAG
from emotion_lightning.tracking import run as tracking
from emotion_lightning.tracking import signals, store
from emotion_lightning.train import work_folder
from emotion_lightning.training import hardware
from emotion_lightning.training.build import build_data
from emotion_lightning.tuning import parent, storage, winner
from emotion_lightning.tuning.inner import inner_splits
from emotion_lightning.tuning.parent import NUMBER_TAG
from emotion_lightning.tuning.request import Request
from emotion_lightning.tuning.space import draw
from emotion_lightning.tuning.trial import STATE_TAG, Trial, build_on_fold, check_no_test_clip_read, run_trial


def search(request: Request, console: Console) -> winner.Winner:
    """Runs the trials that are missing, writes the experiment file of the best settings, and returns what is in it.

    Raises: UserError for an error that the user can correct, also where the search is running already.
    """
    if resolve_ranks(request.experiment.fit).count > 1:
        raise UserError("fit.devices: a search trains on one device; leave it out")
    winner.require_replaceable(request)
    require_writable(winner.FOLDER)
    lock = store.ROOT / "tuning" / f"{request.experiment.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0), signals.raised():
            return _Search(request, console).run()
    except Timeout:
        raise UserError(
            f"a search of {request.experiment.name} is already running in this folder; a second one would double its trials"
        ) from None


class _Search:
    def __init__(self, request: Request, console: Console):
        self.request, self.console = request, console

    def run(self) -> winner.Winner:
        """Checks data and model first, so that a mistake opens neither a study nor a run."""
        hardware.configure_libraries()
        self.client: MlflowClient = store.connect()
        tracking.sweep(self.client)
        data = build_data(self.request.experiment, self.console)
        name = storage.study_name(self.request, data)
        outer = data.split
        build_on_fold(data, inner_splits(data, self.request.folds)[0])
        data.split = outer
        self.study: Study = storage.open_study(name, self.request)
        self.parent_id = parent.open_parent(self.client, self.request, name)
        status = "FAILED"
        try:
            self._run_trials()
            # of the checks above; each trial reads its own data, and has checked it
            check_no_test_clip_read(data, partial(self.client.set_tag, self.parent_id))
            found = winner.write(self.request, self.study)
            parent.log_results(self.client, self.parent_id, self.request, self.study, found)
            status = "FINISHED"
        except signals.Killed as killed:
            status, killed.run_id = "KILLED", self.parent_id
            raise
        finally:
            self.client.set_terminated(self.parent_id, status)
        return found

    def _run_trials(self) -> None:
        self._end_interrupted()
        missing = self.request.trials - len(storage.finished(self.study))
        self._print(f"{max(missing, 0)} of {self.request.trials} trials to do, {self.request.folds} inner folds each")
        for _ in range(missing):
            self._run_trial(storage.ask(self.study, self.request))

    def _end_interrupted(self) -> None:
        """Ends trials that a kill has left open, and their runs: each run of this search whose trial does not count.

        That may be a run that ended just before the kill, or one of which the trial does not know yet.
        """
        numbers = {str(trial.number) for trial in storage.finished(self.study)}
        for run in store.runs(self.client, f"tags.`{PARENT_TAG}` = '{self.parent_id}'"):
            tags = run.data.tags
            if tags.get(NUMBER_TAG) in numbers or tags.get(STATE_TAG) == "killed" or run.info.status == "FAILED":
                continue
            shutil.rmtree(work_folder(run.info.run_id), ignore_errors=True)
            self.client.set_tag(run.info.run_id, STATE_TAG, "killed")
            self.client.set_terminated(run.info.run_id, "KILLED")
        storage.end_interrupted(self.study)

    def _run_trial(self, asked: OptunaTrial) -> None:
        """Runs one trial. A kill leaves it RUNNING in the storage, so that the next start queues it again."""
        values = draw(asked, self.request.ranges)
        asked.set_user_attr("values", values)
        try:
            trial = self._train(asked, values)
        except Exception:
            self.study.tell(asked, state=TrialState.FAIL)
            raise
        asked.set_user_attr("uars", trial.uars)
        shown = ", ".join(f"{path}={_shown(value)}" for path, value in values.items())
        if trial.pruned:
            self.study.tell(asked, state=TrialState.PRUNED)
            self._print(f"trial {asked.number}: pruned · {shown}")
        else:
            self.study.tell(asked, fmean(trial.uars))
            score = f"UAR {fmean(trial.uars):.3f} ± {stdev(trial.uars):.3f}"
            self._print(f"trial {asked.number}: {score} · {shown}")

    def _train(self, asked: OptunaTrial, values: Mapping[str, Any]) -> Trial:
        def report(value: float, step: int) -> bool:
            asked.report(value, step)
            return asked.should_prune()

        experiment = self.request.with_values(values)
        experiment = experiment.model_copy(update={"name": f"{experiment.name} · trial {asked.number}"})
        tags = parent.trial_tags(self.parent_id, self.request, asked.number)
        progress = self.console if self.console.is_terminal else Console(quiet=True)
        return run_trial(
            experiment,
            self.request.folds,
            tags,
            report,
            progress,
        )

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True, markup=False)


def _shown(value: Any) -> str:
    """Formats a value for the terminal; the file and MLflow have all digits of a number."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
