"""Finds and deletes old runs of the local store, with their files and models."""

import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlflow.entities import Run, ViewType
from mlflow.tracking import MlflowClient

from emotion_lightning.tracking import environment, store
from emotion_lightning.tracking.disk import bytes_in, run_folders

CHECKPOINTS = store.ROOT / "checkpoints"
OUTBOX = store.ROOT / "outbox"
ID = "(m-)?[0-9a-f]{32}"  # of a run or a model


@dataclass(frozen=True)
class Old:
    """A run that may be deleted, or a folder of checkpoints that no run needs (`run` is None)."""

    run: Run | None
    id: str
    status: str  # finished, failed, killed, deleted (on MLflow's page), left over
    ended: float  # seconds since 1970
    folders: tuple[Path, ...]

    @property
    def name(self) -> str:
        return str(self.run.info.run_name) if self.run else "checkpoints"

    @property
    def days(self) -> float:
        return (time.time() - self.ended) / 86_400

    @property
    def bytes(self) -> int:
        return sum(map(bytes_in, self.folders))


def old_runs(client: MlflowClient, days: float) -> list[Old]:
    """Returns the runs that ended at least `days` ago, and those that were deleted on MLflow's page, the oldest first.

    A run that is RUNNING and one whose model is registered are left out.
    """
    registered = {version.run_id for version in client.search_model_versions()}
    over = [_old(client, run) for run in _runs(client) if _is_over(run) and run.info.run_id not in registered]
    chosen = [old for old in over if old.status == "deleted" or old.days >= days]
    return sorted(chosen, key=lambda old: old.ended)


def left_over(client: MlflowClient, days: float) -> list[Old]:
    """Returns the folders of checkpoints whose run has finished, or is unknown and has not written for `days`."""
    status = {run.info.run_id: run.info.status for run in _runs(client)}
    found = []
    for folder in sorted(CHECKPOINTS.glob("*")):
        if not re.fullmatch("[0-9a-f]{32}", folder.name) or (OUTBOX / folder.name).exists():  # of a run at a server
            continue
        old = Old(None, folder.name, "left over", folder.stat().st_mtime, (folder,))
        is_gone = folder.name not in status and old.days >= days
        if is_gone or status.get(folder.name) == "FINISHED":
            found.append(old)
    return found


def delete(client: MlflowClient, old: Old) -> bool:
    """Deletes a run with its files, models and checkpoints, as `mlflow gc` does; returns False if it is RUNNING again.

    If this is interrupted, the run is one that was deleted on MLflow's page, which the next call finds.
    """
    if old.run:
        if not _is_over(client.get_run(old.id)):
            return False
        models = client.search_logged_models([old.run.info.experiment_id], f"source_run_id = '{old.id}'")
        if old.status != "deleted":
            client.delete_run(old.id)
    for folder in old.folders:
        shutil.rmtree(folder, ignore_errors=True)
    if old.run:
        backend = client._tracking_client.store
        for model in models:
            backend._hard_delete_logged_model(model.model_id)
        backend._hard_delete_run(old.id)
    return True


def _runs(client: MlflowClient) -> Iterator[Run]:
    """Yields all runs but those whose id MLflow does not make, which it refuses to read or delete."""
    found = store.runs(client, view=ViewType.ALL)
    yield from (run for run in found if re.fullmatch(ID, run.info.run_id))


def _is_over(run: Run) -> bool:
    """Returns whether no process writes to the run. `sweep` does not see runs that were deleted on MLflow's page."""
    if run.info.status not in ("RUNNING", "SCHEDULED"):
        return True
    tags = run.data.tags
    is_ours = tags.get("machine/host") == environment.process_tags()["machine/host"]
    return (
        run.info.lifecycle_stage == "deleted"
        and is_ours
        and not environment.is_alive(tags.get("machine/process", ""))
    )


def _old(client: MlflowClient, run: Run) -> Old:
    status = "deleted" if run.info.lifecycle_stage == "deleted" else run.info.status.lower()
    # each folder is <id>/artifacts, and nothing else is in <id>
    folders = [folder.parent for folder in run_folders(client, run) or () if folder.name == "artifacts"]
    folders.append(CHECKPOINTS / run.info.run_id)
    ended = (run.info.end_time or run.info.start_time) / 1000
    return Old(run, run.info.run_id, status, ended, tuple(filter(_is_of_this_store, folders)))


def _is_of_this_store(folder: Path) -> bool:
    """Returns whether a folder may be deleted. The database of a copied store names the folders of the first one."""
    return bool(re.fullmatch(ID, folder.name)) and folder.resolve().is_relative_to(store.ROOT.resolve())
