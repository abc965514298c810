"""Finds a run of one model in MLflow, and rebuilds the model that it kept."""

from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from emotion_lightning.config.schema import USES_TEST_SPEAKERS
from emotion_lightning.errors import UserError
from emotion_lightning.tracking import store
from emotion_lightning.training.inference import EmotionModel, from_checkpoint


def find(run_id: str) -> Run:
    """Returns the run of one model with this id, or the only one whose id starts with it.

    Raises: UserError where there is no such run, or where it is one of a study or a search, which keeps no model.
    """
    run = store.find_run(store.connect(), run_id)
    kind, tags = run.data.tags.get("kind"), run.data.tags
    if kind == "study":
        name = tags.get("study", "")
        raise UserError(f"RUN: {run_id} is the run of the whole study {name}; name a run of one of its models")
    if kind in ("tuning", "trial"):
        name = tags.get("experiment", "")
        raise UserError(f"RUN: {run_id} is of a search, which keeps no model; make train EXP={name}_tuned trains one")
    return run


def model(run: Run) -> EmotionModel:
    """Rebuilds the model with the weights that the test split was read with.

    Raises: UserError where the run has no checkpoint.
    """
    run_id, epoch = run.info.run_id, run.data.params.get("fit.keep", "best")
    files = [a.path for a in MlflowClient().list_artifacts(run_id, "checkpoints") if Path(a.path).stem == epoch]
    if not files:
        raise UserError(
            f"run {run_id} ({run.info.status}) has no checkpoint; RESUME={run_id} finishes a run that was killed, and "
            f'a run with SET="fit.log_model=true" stores one'
        )
    with store.artifact(run, files[0]) as file:
        return from_checkpoint(file)


def require_single_files(run: Run) -> None:
    """Raises UserError for a run whose features were normalised by all clips of each speaker: it cannot hear single files."""
    if run.data.tags.get(USES_TEST_SPEAKERS):
        raise UserError(
            f"RUN: {run.info.run_id} was normalised by all clips of each speaker ({USES_TEST_SPEAKERS}), so it cannot hear "
            "single files"
        )
