"""Writes one run to MLflow: its status, parameters and metrics. Ends runs whose process is gone.

MLflow's fluent calls are used on rank zero only. There is no Lightning logger: the metrics of an epoch are logged in one
batch, with the epoch as the step. With a tracking server, a run is written to mlruns/outbox first and sent from there in the
background, so that training never waits for the server.
"""

import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities import Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.tracking.context.registry import resolve_tags

from emotion_lightning.config.schema import Experiment
from emotion_lightning.errors import UserError
from emotion_lightning.tracking import disk, environment, outbox, pages, signals, store

OUTBOX = store.ROOT / "outbox"
PARAM_LIMIT = 6000  # characters, MLflow's limit


def experiment_id(client: MlflowClient, experiment: Experiment) -> str:
    """Returns the id of the MLflow experiment for these corpora. A missing one is made first."""
    name = "DEMO" if experiment.is_demo else "+".join(experiment.corpora)
    tags = pages.experiment_tags(experiment)
    if existing := client.get_experiment_by_name(name):
        if existing.lifecycle_stage == "deleted":
            raise UserError(
                f"the MLflow experiment '{name}' was deleted; `MLFLOW_TRACKING_URI={store.shown_uri()} mlflow experiments "
                f"restore --experiment-id {existing.experiment_id}` restores it"
            )
        pages.add_missing_tags(client, existing.experiment_id, existing.tags, tags)
        return str(existing.experiment_id)
    artifacts = (store.ROOT / "artifacts").resolve().as_uri() if store.uri() == store.local() else None
    try:
        return str(client.create_experiment(name, artifact_location=artifacts, tags=tags))
    except MlflowException:  # another process has just made it
        if existing := client.get_experiment_by_name(name):
            return str(existing.experiment_id)
        raise


@dataclass
class Tracked:
    """An open run. `id` is the id that users see; `store_id` is its id in the store of `client`, which an outbox changes."""

    client: MlflowClient
    id: str
    experiment_id: str
    last_logged_epoch: int  # of an earlier start of this run, 0 if none
    store_id: str
    box: outbox.Outbox | None = None  # with a tracking server

    def log_epoch(self, metrics: Mapping[str, float], epoch: int) -> None:
        """Logs the metrics of one epoch, counted from 1, in one batch. An epoch that an earlier start has logged is skipped."""
        if epoch > self.last_logged_epoch:
            self._log(metrics, epoch)

    def log_final(self, metrics: Mapping[str, float]) -> None:
        """Logs metrics that have no epoch, with step 0."""
        self._log(metrics, 0)

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        self.client.log_batch(self.store_id, metrics=[Metric(k, v, now, step) for k, v in metrics.items()])

    def history(self, names: Iterable[str]) -> dict[str, list[tuple[int, float]]]:
        """Returns (epoch, value) of all epochs for each metric."""
        return {n: [(m.step, m.value) for m in self.client.get_metric_history(self.store_id, n)] for n in names}

    def disk_bytes(self) -> int | None:
        """Returns the size of the run's files, in bytes; None if they are not on this disk."""
        folders = disk.run_folders(self.client, self.client.get_run(self.store_id))
        return None if folders is None else sum(map(disk.bytes_in, folders))

    def address(self) -> str:
        """Returns the address of the run's page."""
        return store.address(self.experiment_id, self.id)


@contextmanager
def run(experiment: Experiment, tags: Mapping[str, str], resume: str | None) -> Iterator[Tracked]:
    """Opens a new run, or the run to resume. At the end it is FINISHED, KILLED (SIGTERM, Ctrl-C) or FAILED."""
    client = store.connect()
    sweep(client)
    tags = {**tags, **environment.process_tags()}
    with signals.raised(), _opened(client, experiment, tags, resume) as tracked:
        yield tracked


@contextmanager
def _opened(
    client: MlflowClient, experiment: Experiment, tags: dict[str, str], resume: str | None
) -> Iterator[Tracked]:
    tracked = _resume(client, resume, tags) if resume else _start(client, experiment, tags)
    try:
        # a resumed run has params already, and MLflow refuses to change them
        logged = tracked.client.get_run(tracked.store_id).data.params
        params = [Param(k, v[:PARAM_LIMIT]) for k, v in experiment.flat().items() if k not in logged]
        for start in range(0, len(params), 100):  # MLflow's limit for one call
            tracked.client.log_batch(tracked.store_id, params=params[start : start + 100])
        yield tracked
    except signals.Killed as killed:
        killed.run_id = tracked.id
        with suppress(MlflowException):  # a locked database or a full disk: the next start sets KILLED in `sweep`
            _end(tracked, RunStatus.KILLED)
        raise
    except BaseException as error:
        signals.ignore()
        if isinstance(error, UserError):
            error.in_run = True
        error.add_note(f"RESUME={tracked.id[:8]} goes on with the run")
        with suppress(Exception):  # a locked database must not hide the first error, nor leave the run open
            mlflow.set_tag("failure", f"{type(error).__name__}: {error}"[:500])
        with suppress(Exception):  # then the next start sets KILLED in `sweep`
            _end(tracked, RunStatus.FAILED)
        raise
    _end(tracked, RunStatus.FINISHED)


def _start(client: MlflowClient, experiment: Experiment, tags: dict[str, str]) -> Tracked:
    mlflow_experiment = experiment_id(client, experiment)
    prefix = experiment.title_prefix.removeprefix("DEMO · ")  # the name of MLflow's experiment says DEMO
    name = f"{prefix}{title(experiment)}"
    # The tags are set when the run is made: without them, `sweep` could not tell a killed run from a running one.
    if store.is_server():
        run_id = store.require_id(
            client.create_run(mlflow_experiment, run_name=name, tags=resolve_tags(tags)).info.run_id
        )
        return _open_outbox(client, run_id, mlflow_experiment, 0)
    active = mlflow.start_run(experiment_id=mlflow_experiment, run_name=name, tags=tags, log_system_metrics=True)
    return Tracked(client, active.info.run_id, mlflow_experiment, 0, active.info.run_id)


def _resume(client: MlflowClient, run_id: str, tags: dict[str, str]) -> Tracked:
    info = store.find_run(client, run_id).info
    last_epoch = max((m.step for m in client.get_metric_history(info.run_id, "loss/val")), default=0)
    # before the status becomes RUNNING: the `sweep` of another process reads these tags
    client.log_batch(info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    if store.is_server():
        client.update_run(info.run_id, "RUNNING")
        return _open_outbox(client, info.run_id, info.experiment_id, last_epoch)
    mlflow.start_run(run_id=info.run_id, log_system_metrics=True)
    return Tracked(client, info.run_id, info.experiment_id, last_epoch, info.run_id)


def _open_outbox(client: MlflowClient, run_id: str, experiment_id: str, last_epoch: int) -> Tracked:
    """Redirects MLflow's fluent calls for a run of the server to a store on this disk."""
    box = outbox.Outbox(OUTBOX / run_id, client)
    uri = store.uri()
    mlflow.set_tracking_uri(box.uri)
    os.environ["MLFLOW_TRACKING_URI"] = uri  # MLflow has changed it, but the other ranks must read the server
    mlflow.start_run(run_id=box.run_id, log_system_metrics=True)
    return Tracked(box.client, run_id, experiment_id, last_epoch, box.run_id, box)


def _end(tracked: Tracked, status: int) -> None:
    mlflow.end_run(RunStatus.to_string(status))
    if tracked.box is None:
        return
    mlflow.set_tracking_uri(store.uri())
    if status == RunStatus.FINISHED:
        with suppress(signals.Killed):  # the run has finished, even if not all of it is at the server yet
            tracked.box.close(tracked.box.wait_seconds)
    else:
        tracked.box.close(10, at_most=True)


def title(experiment: Experiment) -> str:
    """Returns what tells this run from others: experiment, protocol, fold and seed."""
    fold = experiment.protocol.args.get("fold")
    folds = "" if fold is None else f" · fold {fold}"
    return f"{experiment.name} · {experiment.protocol.name}{folds} · seed {experiment.seed}"


def sweep(client: MlflowClient) -> None:
    """Sets runs of this machine to KILLED if they are RUNNING but their process is gone (SIGKILL, power failure).

    Sends the runs in the outbox to the server first.
    """
    if store.is_server():
        outbox.send_unsent(OUTBOX, client)
    for stale in store.runs(client, "attributes.status = 'RUNNING'"):
        tags = stale.data.tags
        is_ours = tags.get("machine/host") == socket.gethostname()
        if is_ours and not environment.is_alive(tags.get("machine/process", "")):
            client.set_terminated(stale.info.run_id, RunStatus.to_string(RunStatus.KILLED))


def import_run(folder: Path) -> str:
    """Sends a run from the outbox to the server, and returns the address of its page.

    Raises:
        UserError: no server is set, or the folder holds no run.
    """
    client = store.connect()
    if not store.is_server():
        raise UserError("MLFLOW_TRACKING_URI is not set; set it to the address of the server that gets the run")
    run_id = outbox.import_run(folder, client)
    return store.address(client.get_run(run_id).info.experiment_id, run_id)


def log_data(name: str, digest: str, split: str, counts: Mapping[str, str]) -> None:
    """Logs one split as an MLflow input: corpora, digest of clips, features and split, and clips of each emotion."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    data = MetaDataset(  # type: ignore[abstract]
        CodeDatasetSource(tags={"corpora": name}), name=name, digest=digest
    )
    for attempt in range(5):  # the database refuses one of two processes that log the same data at the same time
        try:
            mlflow.log_input(data, context=split, tags=dict(counts))
            return
        except MlflowException:
            if attempt == 4:
                raise
            time.sleep(0.1 * 2**attempt)
