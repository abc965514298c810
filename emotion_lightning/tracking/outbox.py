"""Runs on their way to a tracking server: each is written to a store of its own on this disk and sent on by a thread.

`mlruns/outbox/<run id at the server>/` holds mlflow.db and artifacts/, an MLflow store with this one run in it. Training
writes there and never waits for the server. A thread sends what is new every few seconds; while the server is away
everything stays, and goes when it is back. A run that has ended and is whole at the server leaves the outbox.
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
from emotion_lightning.tracking.server import hurry, is_refusal, why
from emotion_lightning.tracking.sync import COPY_OF, Replica, experiment

SECONDS = 5.0  # between two sendings, at least
WAIT = "EMOTION_SERVER_WAIT"
"""Environment: seconds that a run which has ended waits for a server that is away; 300 if it is not set."""


class Outbox:
    """One run that is being written. `client` and `run_id` are those of its store on disk."""

    def __init__(self, folder: Path, server: MlflowClient):
        """Opens the folder named as the run is at the server; a new one gets a copy of what the server has of the run."""
        self.folder, self.server, self.id = folder, server, folder.name
        hurry()
        self.patience = patience()
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(folder / ".lock", timeout=0)
        self.lock.acquire()
        self.uri = _made(folder)
        self.client = MlflowClient(self.uri)
        self.run_id = (_only_run(self.client) or self._copy()).info.run_id
        self.replica = Replica(self.client, self.run_id, server, self.id)
        self.closing, self.done, self.left = (threading.Event() for _ in range(3))
        self.fault = ""  # why the last sending failed
        self.thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self.thread.start()

    def _copy(self) -> Run:
        run = self.server.get_run(self.id)
        parent = self.server.get_experiment(run.info.experiment_id)
        place = experiment(parent, self.client, (self.folder / "artifacts").resolve().as_uri())
        copy = self.client.create_run(place, run.info.start_time, run.data.tags, run.info.run_name)
        Replica(self.server, self.id, self.client, copy.info.run_id).figures()
        return copy

    def close(self, seconds: float, at_most: bool = False) -> None:
        """Sends what is left, the run's end with it, and then removes the folder. Waits so many seconds for a server that is
        away, and as long as one needs that is there unless `at_most`; then it says how to send the rest later."""
        self.closing.set()
        began, told = time.monotonic(), False
        try:
            while not self.done.wait(0.1) and self.thread.is_alive():
                waited = time.monotonic() - began
                if waited > seconds and (self.fault or at_most):
                    break
                if self.fault and waited > SECONDS and not told:
                    told = True
                    say(f"waiting {seconds:.0f} s for the MLflow server to come back; Ctrl-C ends that")
        finally:
            if self.done.is_set():
                _remove(self.folder, self.client, self.lock)
            else:
                self.left.set()
                self.lock.release()  # the next run here sends it
                say(
                    f"run {self.id[:8]} is not whole at the MLflow server ({self.fault or 'too slow'}): {advice(self.folder)}"
                )

    def _work(self) -> None:
        pause, refusals = SECONDS, 0
        while not self.done.is_set() and not self.left.is_set() and refusals < 3:
            last = self.closing.wait(pause)
            began = time.monotonic()
            try:
                self.replica.everything(self.folder / "artifacts")
                if last:
                    self.replica.end()
                if self.fault:
                    say("the MLflow server is back; what was kept has been sent")
                self.fault = ""
                if last:
                    self.done.set()
                # a twentieth of the time at most, so that training does not become slower
                pause = max(SECONDS, 20 * (time.monotonic() - began))
            except Exception as error:
                if not self.fault:
                    say(
                        f"the MLflow server takes nothing ({why(error)}); all is kept in {self.folder} and sent later"
                    )
                self.fault, pause = why(error), SECONDS
                if last:
                    refusals += is_refusal(error)
                    time.sleep(1)


def send(folder: Path, server: MlflowClient, run_id: str) -> None:
    """Sends a run that no process writes to any more into `run_id` of the server; then the folder is gone. One that was
    killed by SIGKILL ends as KILLED."""
    with FileLock(folder / ".lock", timeout=0) as lock:
        client = MlflowClient(store.local(folder))
        if (run := _only_run(client)) is None:
            _remove(folder, client, lock)  # killed before it had written anything
            return
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")
        replica = Replica(client, run.info.run_id, server, run_id)
        replica.everything(folder / "artifacts")
        replica.end()
        _remove(folder, client, lock)


def send_left(root: Path, server: MlflowClient) -> None:
    """Sends all runs in the outbox that this server knows and no process writes to any more."""
    for folder in sorted(path.parent for path in root.glob("[!.]*/mlflow.db")):
        try:
            if _known(server, folder.name):
                send(folder, server, folder.name)
        except Timeout:
            continue  # it is being written
        except Exception as error:
            say(f"run {folder.name[:8]} cannot be sent to the MLflow server ({why(error)}): {advice(folder)}")


def import_run(folder: Path, server: MlflowClient) -> str:
    """Sends a run into the server's run of its id, or into a new one where there is none; returns the id."""
    if not (folder / "mlflow.db").is_file():
        raise UserError(f"RUN: there is no run to import in '{folder}'; a folder of mlruns/outbox is meant")
    try:
        run_id = folder.name if _known(server, folder.name) else _renamed(folder, server)
        send(folder, server, run_id)
    except Timeout:
        raise UserError(f"RUN: {folder} is being written by a run that goes on") from None
    return run_id


def _renamed(folder: Path, server: MlflowClient) -> str:
    """The run that stands for the folder's at a server which has none of its id: of an earlier import, or new."""
    client = MlflowClient(store.local(folder))
    if (run := _only_run(client)) is None:
        raise UserError(f"RUN: the store in {folder} is empty")
    place = experiment(client.get_experiment(run.info.experiment_id), server)
    if found := server.search_runs([place], f"tags.{COPY_OF} = '{folder.name}'"):
        return str(found[0].info.run_id)
    tags = {**run.data.tags, COPY_OF: folder.name}
    return str(server.create_run(place, run.info.start_time, tags, run.info.run_name).info.run_id)


def _known(server: MlflowClient, run_id: str) -> bool:
    try:
        return bool(server.get_run(run_id).info.lifecycle_stage == "active")
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):  # unknown; no id at all
            return False
        raise


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def advice(folder: Path) -> str:
    return f"it is kept in {folder}; `make import RUN={folder}` sends it"


def patience() -> float:
    """Seconds that a run which has finished waits for the server."""
    try:
        return float(os.environ.get(WAIT, "300"))
    except ValueError:
        raise UserError(f"{WAIT}={os.environ[WAIT]}: a number of seconds is needed") from None


def _made(folder: Path) -> str:
    """The folder's store, copied from an empty one: to make one takes MLflow seconds."""
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
    places = [e.experiment_id for e in client.search_experiments()]
    return next(iter(client.search_runs(places, max_results=1)), None)


def _remove(folder: Path, client: MlflowClient, lock: FileLock) -> None:
    client._tracking_client.store.engine.dispose()  # else each run of a study leaves files open
    shutil.rmtree(folder)
    lock.release()
