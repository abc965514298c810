"""One run in MLflow, from start to end, and runs that others have left.

MLflow's fluent calls are used on rank zero only. There is no Lightning logger: each epoch's figures go in one batch whose
step is the epoch. With a server a run is written to mlruns/outbox and sent on from there, so that it never waits for the server.
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
from emotion_lightning.tracking import environment as machine
from emotion_lightning.tracking import outbox, signals, store

OUTBOX = store.ROOT / "outbox"
PARAM_LIMIT = 6000  # characters, MLflow's own


def experiment_id(client: MlflowClient, experiment: Experiment) -> str:
    """The MLflow experiment for runs on these corpora, made first where it is missing."""
    name = "DEMO" if experiment.is_demo else "+".join(experiment.corpora)
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    place = (store.ROOT / "artifacts").resolve().as_uri() if store.uri() == store.local() else None
    try:
        # the kind opens MLflow's pages on training rather than on chat agents
        kind = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(name, artifact_location=place, tags=kind))
    except MlflowException:  # another process was faster
        if found := client.get_experiment_by_name(name):
            return str(found.experiment_id)
        raise


@dataclass
class Tracked:
    """An open run: `id` is known to people, `written` is what `client` knows it by; they differ in an outbox."""

    client: MlflowClient
    id: str
    experiment_id: str
    logged_to: int  # last epoch that an earlier start of this run has logged, -1 if none
    written: str
    box: outbox.Outbox | None = None  # on its way to a server

    def epoch(self, figures: Mapping[str, float], epoch: int) -> None:
        """One epoch's metrics in one batch. An epoch that stands there already is not logged again."""
        if epoch > self.logged_to:
            now = int(time.time() * 1000)
            self.client.log_batch(self.written, metrics=[Metric(k, v, now, epoch) for k, v in figures.items()])

    def final(self, figures: Mapping[str, float]) -> None:
        now = int(time.time() * 1000)
        self.client.log_batch(self.written, metrics=[Metric(k, v, now, 0) for k, v in figures.items()])

    def history(self, names: Iterable[str]) -> dict[str, list[tuple[int, float]]]:
        return {n: [(m.step, m.value) for m in self.client.get_metric_history(self.written, n)] for n in names}

    def address(self) -> str:
        return store.address(self.experiment_id, self.id)


@contextmanager
def run(experiment: Experiment, tags: Mapping[str, str], resume: str | None) -> Iterator[Tracked]:
    """Opens a run, or goes on in one; on leaving it is FINISHED, KILLED (SIGTERM, Ctrl-C) or FAILED."""
    client = store.connect()
    sweep(client)
    tags = {**tags, **machine.process()}
    with signals.raised(), _opened(client, experiment, tags, resume) as tracked:
        yield tracked


@contextmanager
def _opened(
    client: MlflowClient, experiment: Experiment, tags: dict[str, str], resume: str | None
) -> Iterator[Tracked]:
    tracked = _resumed(client, resume, tags) if resume else _begun(client, experiment, tags)
    try:
        # of a run that goes on; MLflow refuses a param that changes
        there = tracked.client.get_run(tracked.written).data.params
        params = [Param(k, v[:PARAM_LIMIT]) for k, v in experiment.flat().items() if k not in there]
        for start in range(0, len(params), 100):  # MLflow's limit a call
            tracked.client.log_batch(tracked.written, params=params[start : start + 100])
        yield tracked
    except signals.Killed as killed:
        killed.run_id = tracked.id
        with suppress(MlflowException):  # locked by others, or a full disk: the next start's sweep says KILLED
            _end(tracked, RunStatus.KILLED)
        raise
    except BaseException as error:
        signals.ignore()
        if isinstance(error, UserError):
            error.in_run = True
        mlflow.set_tag("failure", f"{type(error).__name__}: {error}"[:500])
        _end(tracked, RunStatus.FAILED)
        raise
    _end(tracked, RunStatus.FINISHED)


def _begun(client: MlflowClient, experiment: Experiment, tags: dict[str, str]) -> Tracked:
    place = experiment_id(client, experiment)
    title = (
        ("LEAKY · " if experiment.is_leaky else "")
        + f"{experiment.name} · {experiment.protocol.name}"
        + _fold(experiment)
    )
    # with its tags from the start: a run that is killed before it has them could not be told from a living one
    if store.is_server():
        run_id = client.create_run(place, run_name=title, tags=resolve_tags(tags)).info.run_id
        return _posted(client, run_id, place, -1)
    active = mlflow.start_run(experiment_id=place, run_name=title, tags=tags, log_system_metrics=True)
    return Tracked(client, active.info.run_id, place, -1, active.info.run_id)


def _resumed(client: MlflowClient, run_id: str, tags: dict[str, str]) -> Tracked:
    info = store.find(client, run_id).info
    logged_to = max((m.step for m in client.get_metric_history(info.run_id, "loss/val")), default=-1)
    # first: another process's sweep looks at who a running run belongs to
    client.log_batch(info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    if store.is_server():
        client.update_run(info.run_id, "RUNNING")
        return _posted(client, info.run_id, info.experiment_id, logged_to)
    mlflow.start_run(run_id=info.run_id, log_system_metrics=True)
    return Tracked(client, info.run_id, info.experiment_id, logged_to, info.run_id)


def _posted(client: MlflowClient, run_id: str, experiment_id: str, logged_to: int) -> Tracked:
    """A run of the server's, RUNNING there, that is written to an outbox from here on."""
    box = outbox.Outbox(OUTBOX / run_id, client)
    uri = store.uri()
    mlflow.set_tracking_uri(box.uri)
    os.environ["MLFLOW_TRACKING_URI"] = uri  # MLflow has changed it, and other ranks are to read the server's
    mlflow.start_run(run_id=box.run_id, log_system_metrics=True)
    return Tracked(box.client, run_id, experiment_id, logged_to, box.run_id, box)


def _end(tracked: Tracked, status: int) -> None:
    mlflow.end_run(RunStatus.to_string(status))
    if tracked.box is None:
        return
    mlflow.set_tracking_uri(store.uri())
    if status == RunStatus.FINISHED:
        with suppress(signals.Killed):  # it has finished, wherever it is
            tracked.box.close(tracked.box.patience)
    else:
        tracked.box.close(10, at_most=True)


def _fold(experiment: Experiment) -> str:
    fold = experiment.protocol.args.get("fold")
    return "" if fold is None else f" · fold {fold}"


def sweep(client: MlflowClient) -> None:
    """Runs of this machine that stand as RUNNING and whose process is gone (SIGKILL, power) become KILLED. What waits in the
    outbox is sent first."""
    if store.is_server():
        outbox.send_left(OUTBOX, client)
    for stale in store.runs(client, "attributes.status = 'RUNNING'"):
        tags = stale.data.tags
        if tags.get("machine/host") == socket.gethostname() and not machine.alive(tags.get("machine/process", "")):
            client.set_terminated(stale.info.run_id, RunStatus.to_string(RunStatus.KILLED))


def import_run(folder: Path) -> str:
    """Sends what the outbox holds of a run to the server; returns the address of its page."""
    client = store.connect()
    if not store.is_server():
        raise UserError("MLFLOW_TRACKING_URI is not set: it names the server that the run is to be sent to")
    run_id = outbox.import_run(folder, client)
    return store.address(client.get_run(run_id).info.experiment_id, run_id)


def log_data(name: str, digest: str, side: str, counts: Mapping[str, str]) -> None:
    """One side of the split as an MLflow input: corpora, digest of clips, features and split, counts by emotion."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    data = MetaDataset(  # type: ignore[abstract]
        CodeDatasetSource(tags={"corpora": name}), name=name, digest=digest
    )
    for attempt in range(5):  # two processes that log the same data at once: one of them is refused by the database
        try:
            mlflow.log_input(data, context=side, tags=dict(counts))
            return
        except MlflowException:
            if attempt == 4:
                raise
            time.sleep(0.1 * 2**attempt)
