"""Writes a run to a store on this disk, and sends it to the tracking server in the background.

`mlruns/outbox/<run id at the server>/` holds mlflow.db and artifacts/, an MLflow store with only this run. Training writes
to it and never waits for the server. A thread sends new data every few seconds. If the server does not answer, the data
stays here until it does. When a run has ended and is complete at the server, its folder is removed.
"""

import os
import shutil
import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

from filelock import FileLock, Timeout
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from emotion_lightning.errors import UserError
from emotion_lightning.tracking import store
from emotion_lightning.tracking.server import is_refusal, limit_retries, short_reason
from emotion_lightning.tracking.sync import COPY_OF, Replica, find_or_create_experiment

SECONDS = 5.0  # the shortest time between two transfers
WAIT = "EMOTION_SERVER_WAIT"
"""Environment variable: how many seconds a finished run waits for a server that does not answer. The default is 300."""


class Outbox:
    """A run that is being written and sent. `client` and `run_id` belong to its store on disk, `id` to the server."""

    def __init__(self, folder: Path, server: MlflowClient):
        """Opens a folder that has the name of the run's id at the server. A new folder starts with a copy of that run."""
        self.folder, self.server, self.id = folder, server, folder.name
        limit_retries()
        self.wait_seconds = wait_seconds()
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(folder / ".lock", timeout=0)
        self.lock.acquire()
        self.uri = _make_store(folder)
        self.client = MlflowClient(self.uri)
        self.run_id = (_only_run(self.client) or self._copy_from_server()).info.run_id
        self.replica = Replica(self.client, self.run_id, server, self.id)
        self.closing, self.done, self.abandoned = (threading.Event() for _ in range(3))
        self.fault = ""  # why the last transfer failed
        self.thread = threading.Thread(target=self._send_repeatedly, name="outbox", daemon=True)
        self.thread.start()

    def _copy_from_server(self) -> Run:
        run = self.server.get_run(self.id)
        parent = self.server.get_experiment(run.info.experiment_id)
        experiment_id = find_or_create_experiment(parent, self.client, (self.folder / "artifacts").resolve().as_uri())
        copy = self.client.create_run(experiment_id, run.info.start_time, run.data.tags, run.info.run_name)
        Replica(self.server, self.id, self.client, copy.info.run_id).copy_values()
        return copy

    def close(self, seconds: float, at_most: bool = False) -> None:
        """Sends the rest of the run and its end, then removes the folder.

        Waits `seconds` for a server that does not answer. A server that answers gets as much time as it needs, unless
        `at_most` is set. If the time is over, the folder stays, and a message says how to send it later.
        """
        self.closing.set()
        began, announced = time.monotonic(), False
        try:
            while not self.done.wait(0.1) and self.thread.is_alive():
                waited = time.monotonic() - began
                if waited > seconds and (self.fault or at_most):
                    break
                if self.fault and waited > SECONDS and not announced:
                    announced = True
                    _print(f"waiting up to {seconds:.0f} s for the MLflow server; Ctrl-C stops waiting")
        finally:
            if self.done.is_set():
                _remove(self.folder, self.client, self.lock)
            else:
                self.abandoned.set()
                self.lock.release()  # the next run of this project sends it
                reason = self.fault or "too slow"
                _print(f"run {self.id[:8]} is not complete at the MLflow server ({reason}): {_advice(self.folder)}")

    def _send_repeatedly(self) -> None:
        pause, refusals = SECONDS, 0
        while not self.done.is_set() and not self.abandoned.is_set() and refusals < 3:
            last = self.closing.wait(pause)
            began = time.monotonic()
            try:
                self.replica.copy_all(self.folder / "artifacts")
                if last:
                    self.replica.copy_end()
                if self.fault:
                    _print("the MLflow server is back; the stored data has been sent")
                self.fault = ""
                if last:
                    self.done.set()
                # at most a twentieth of the time is spent on transfers, so that they do not slow training down
                pause = max(SECONDS, 20 * (time.monotonic() - began))
            except Exception as error:
                reason = short_reason(error)
                if not self.fault:
                    _print(
                        f"the MLflow server accepts no data ({reason}); it is stored in {self.folder} and sent later"
                    )
                self.fault, pause = reason, SECONDS
                if last:
                    refusals += is_refusal(error)
                    time.sleep(1)


def send(folder: Path, server: MlflowClient, run_id: str) -> None:
    """Sends a run into `run_id` of the server and removes its folder. A run that is still RUNNING was lost: it ends KILLED.

    Raises:
        Timeout: a process still writes to the folder.
    """
    with FileLock(folder / ".lock", timeout=0) as lock:
        client = MlflowClient(store.local(folder))
        if (run := _only_run(client)) is None:
            _remove(folder, client, lock)  # its process was killed before it wrote anything
            return
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")
        replica = Replica(client, run.info.run_id, server, run_id)
        replica.copy_all(folder / "artifacts")
        replica.copy_end()
        _remove(folder, client, lock)


def send_unsent(root: Path, server: MlflowClient) -> None:
    """Sends all runs in the outbox that this server has and that no process writes to any more."""
    for folder in root.glob(".*.sent"):  # left by a process that was killed
        shutil.rmtree(folder, ignore_errors=True)
    for folder in sorted(path.parent for path in root.glob("[!.]*/mlflow.db")):
        try:
            if _has_run(server, folder.name):
                send(folder, server, folder.name)
        except Timeout:
            continue  # a process writes to it
        except Exception as error:
            reason = short_reason(error)
            _print(f"run {folder.name[:8]} cannot be sent to the MLflow server ({reason}): {_advice(folder)}")


def import_run(folder: Path, server: MlflowClient) -> str:
    """Sends a run to the server and returns its id there: the same id if the server has it, else that of a new run.

    Raises:
        UserError: the folder holds no run, or a process still writes to it.
    """
    if not (folder / "mlflow.db").is_file():
        raise UserError(f"RUN: there is no run to import in '{folder}'; name a folder of mlruns/outbox")
    if (folder / ".ready").exists() or (folder / "outbox").exists():  # it would be deleted once one run of it is sent
        raise UserError(f"RUN: '{folder}' is a whole store, not a run; name a folder of mlruns/outbox")
    try:
        run_id = folder.name if _has_run(server, folder.name) else _find_or_create_run(folder, server)
        send(folder, server, run_id)
    except Timeout:
        raise UserError(f"RUN: {folder} belongs to a run that is not over yet") from None
    return run_id


def _find_or_create_run(folder: Path, server: MlflowClient) -> str:
    """Returns the id of the run that an earlier import of this folder has made, or of a new run."""
    client = MlflowClient(store.local(folder))
    if (run := _only_run(client)) is None:
        raise UserError(f"RUN: the store in {folder} is empty")
    experiment_id = find_or_create_experiment(client.get_experiment(run.info.experiment_id), server)
    if copies := server.search_runs([experiment_id], f"tags.{COPY_OF} = '{folder.name}'"):
        return str(copies[0].info.run_id)
    tags = {**run.data.tags, COPY_OF: folder.name}
    return str(server.create_run(experiment_id, run.info.start_time, tags, run.info.run_name).info.run_id)


def _has_run(server: MlflowClient, run_id: str) -> bool:
    try:
        return bool(server.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # unknown id, or not an id
            return False
        raise


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _advice(folder: Path) -> str:
    return f"it is stored in {folder}; `make import RUN={folder}` sends it"


def wait_seconds() -> float:
    """Returns how many seconds a finished run waits for the server.

    Raises:
        UserError: the environment variable is not a number.
    """
    try:
        return float(os.environ.get(WAIT, "300"))
    except ValueError:
        raise UserError(f"{WAIT}={os.environ[WAIT]}: a number of seconds is needed") from None


def _make_store(folder: Path) -> str:
    """Copies an empty store into the folder if it has none, because MLflow takes seconds to make one. Returns its URI."""
    database = folder / "mlflow.db"
    if not database.exists():
        store.make_local(empty := folder.parent / ".empty")
        part = database.with_suffix(".part")
        with closing(sqlite3.connect(empty / "mlflow.db")) as source, closing(sqlite3.connect(part)) as target:
            source.backup(target)
            target.execute("PRAGMA journal_mode=WAL")
        part.replace(database)
    return store.local(folder)


def _only_run(client: MlflowClient) -> Run | None:
    experiment_ids = [e.experiment_id for e in client.search_experiments()]
    return next(iter(client.search_runs(experiment_ids, max_results=1)), None)


def _remove(folder: Path, client: MlflowClient, lock: FileLock) -> None:
    client._tracking_client.store.engine.dispose()  # otherwise each run of a study leaves files open
    # in one step: of a folder that a kill had removed in part, the next start would send what is left as the run
    gone = folder.with_name(f".{folder.name}.sent")
    folder.rename(gone)
    shutil.rmtree(gone)
    lock.release()
