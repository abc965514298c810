"""Everything MLflow: where the store lies, one run from start to end, and finding runs again.

Without MLFLOW_TRACKING_URI the store is mlruns/mlflow.db with artifacts in mlruns/artifacts. MLflow's fluent calls are
used on rank zero only. There is no Lightning logger: each epoch's figures go in one batch whose step is the epoch.
With a server a run is written to mlruns/outbox and sent on from there, so that it never waits for the server.
"""

import logging
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from urllib.parse import urlparse

import mlflow
from filelock import FileLock
from mlflow.entities import Metric, Param, Run, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.tracking.context.registry import resolve_tags

from emotion_lightning import machine, outbox, server
from emotion_lightning.errors import UserError
from emotion_lightning.experiment import Experiment

ROOT = Path("mlruns")
OUTBOX = ROOT / "outbox"
PARAM_LIMIT = 6000  # characters, MLflow's own


class Killed(BaseException):
    """SIGTERM or Ctrl-C, raised where the run stands so that it ends with the status KILLED."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum
        self.run_id = ""


def store() -> str:
    """The tracking URI in force."""
    return os.environ.get("MLFLOW_TRACKING_URI") or _local_uri()


def _local_uri() -> str:
    return f"sqlite:///{(ROOT / 'mlflow.db').resolve()}"


def shared() -> bool:
    """Whether other machines reach the store: it is neither a file nor on this machine's own address."""
    place = urlparse(store())
    return not place.scheme.startswith(("sqlite", "file")) and place.hostname not in ("localhost", "127.0.0.1", "::1")


def connect() -> MlflowClient:
    """The client of the store, which is made first where it is missing."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a server's; we print it ourselves
    logging.getLogger("mlflow.pytorch").setLevel(logging.ERROR)  # warns of pickle at each model that is logged
    if store() == _local_uri():
        _make_local_store(ROOT)
    elif is_server():
        # seconds; MLflow's 120 are long for a server that hangs
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        server.must_answer(store())
    mlflow.set_tracking_uri(store())
    return MlflowClient()


def is_server() -> bool:
    return store().startswith("http")


def _make_local_store(folder: Path) -> None:
    """SQLite in the folder, made under a lock: eight processes that migrate a fresh database at once crash each other."""
    database, ready = folder / "mlflow.db", folder / ".ready"
    if ready.exists() and database.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not (ready.exists() and database.exists()):
            MlflowClient(f"sqlite:///{database.resolve()}").search_experiments()
            with closing(sqlite3.connect(database)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # writers and the UI do not wait for each other
            ready.touch()


def settle() -> None:
    """Brings what SQLite keeps in mlflow.db-wal into mlflow.db, so that a copy of the one file is whole; waits for nobody."""
    if store() == _local_uri() and (database := ROOT / "mlflow.db").exists():
        with closing(sqlite3.connect(database, timeout=0)) as connection, suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def experiment_id(client: MlflowClient, experiment: Experiment) -> str:
    """The MLflow experiment for runs on these corpora, made first where it is missing."""
    name = "DEMO" if experiment.is_demo else "+".join(experiment.corpora)
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    place = (ROOT / "artifacts").resolve().as_uri() if store() == _local_uri() else None
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
        return address(self.experiment_id, self.id)


def address(experiment_id: str, run_id: str) -> str:
    """Where the run's page is, or will be once `make ui` serves the local store."""
    page = f"/#/experiments/{experiment_id}/runs/{run_id}"
    return store().rstrip("/") + page if is_server() else f"make ui → http://127.0.0.1:5000{page}"


@contextmanager
def run(experiment: Experiment, tags: Mapping[str, str], resume: str | None) -> Iterator[Tracked]:
    """Opens a run, or goes on in one; on leaving it is FINISHED, KILLED (SIGTERM, Ctrl-C) or FAILED."""
    client = connect()
    sweep(client)
    tags = {**tags, **machine.process()}
    with signals_raise(), _opened(client, experiment, tags, resume) as tracked:
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
    except Killed as killed:
        killed.run_id = tracked.id
        _end(tracked, RunStatus.KILLED)
        raise
    except BaseException as error:
        _ignore_signals()
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
    if is_server():
        run_id = client.create_run(place, run_name=title, tags=resolve_tags(tags)).info.run_id
        return _posted(client, run_id, place, -1)
    active = mlflow.start_run(experiment_id=place, run_name=title, tags=tags, log_system_metrics=True)
    return Tracked(client, active.info.run_id, place, -1, active.info.run_id)


def _resumed(client: MlflowClient, run_id: str, tags: dict[str, str]) -> Tracked:
    info = find(client, run_id).info
    logged_to = max((m.step for m in client.get_metric_history(info.run_id, "loss/val")), default=-1)
    # first: another process's sweep looks at who a running run belongs to
    client.log_batch(info.run_id, tags=[RunTag(key, value) for key, value in tags.items()])
    if is_server():
        client.update_run(info.run_id, "RUNNING")
        return _posted(client, info.run_id, info.experiment_id, logged_to)
    mlflow.start_run(run_id=info.run_id, log_system_metrics=True)
    return Tracked(client, info.run_id, info.experiment_id, logged_to, info.run_id)


def _posted(client: MlflowClient, run_id: str, experiment_id: str, logged_to: int) -> Tracked:
    """A run of the server's, RUNNING there, that is written to an outbox from here on."""
    box = outbox.Outbox(OUTBOX / run_id, client, _make_local_store)
    uri = store()
    mlflow.set_tracking_uri(box.uri)
    os.environ["MLFLOW_TRACKING_URI"] = uri  # MLflow has changed it, and other ranks are to read the server's
    mlflow.start_run(run_id=box.run_id, log_system_metrics=True)
    return Tracked(box.client, run_id, experiment_id, logged_to, box.run_id, box)


def _end(tracked: Tracked, status: int) -> None:
    mlflow.end_run(RunStatus.to_string(status))
    if tracked.box is None:
        return
    mlflow.set_tracking_uri(store())
    if status == RunStatus.FINISHED:
        with suppress(Killed):  # it has finished, wherever it is
            tracked.box.close(tracked.box.patience)
    else:
        tracked.box.close(10, at_most=True)


def _fold(experiment: Experiment) -> str:
    fold = experiment.protocol.args.get("fold")
    return "" if fold is None else f" · fold {fold}"


@contextmanager
def signals_raise() -> Iterator[None]:
    """The first SIGTERM or Ctrl-C raises Killed; one that comes amid a write to the database does so when it is written, or
    the database would stay locked."""

    def stop(signum: int, frame: FrameType | None) -> None:
        if _in_database(frame):
            threading.Timer(0.01, os.kill, (os.getpid(), signum)).start()  # asks again
            return
        _ignore_signals()
        raise Killed(signum)

    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _in_database(frame: FrameType | None) -> bool:
    """Whether this is a frame of MLflow's database store, or one that the store has called."""
    while frame and not frame.f_globals.get("__name__", "").endswith("sqlalchemy_store"):
        frame = frame.f_back
    return frame is not None


def _ignore_signals() -> None:
    """torchrun and SLURM may send theirs twice, or while a lost rank is dealt with: MLflow sets a run whose end is cut short
    to FINISHED when the process exits."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)


def find(client: MlflowClient, run_id: str) -> Run:
    """The run of that id, or of an id that starts so."""
    try:
        if len(run_id) == 32:
            return client.get_run(run_id)
        matches = [r for r in runs(client) if r.info.run_id.startswith(run_id)]
    except MlflowException as error:
        raise UserError(f"no run '{run_id}' at {mlflow.get_tracking_uri()} ({error.message})") from None
    if len(matches) != 1:
        raise UserError(
            f"{len(matches) or 'no'} runs start with '{run_id}' at {mlflow.get_tracking_uri()}; `make ui` lists them"
        )
    return matches[0]


def runs(client: MlflowClient, which: str = "") -> Iterator[Run]:
    """All runs of the store that a filter in MLflow's own words picks, newest first, page by page."""
    experiments, token = [e.experiment_id for e in client.search_experiments()], None
    while experiments:
        page = client.search_runs(experiments, which, max_results=1000, page_token=token)
        yield from page
        if not (token := page.token):
            return


def sweep(client: MlflowClient) -> None:
    """Runs of this machine that stand as RUNNING and whose process is gone (SIGKILL, power) become KILLED. What waits in the
    outbox is sent first."""
    if is_server():
        outbox.send_left(OUTBOX, client)
    for stale in runs(client, "attributes.status = 'RUNNING'"):
        tags = stale.data.tags
        if tags.get("machine/host") == socket.gethostname() and not machine.alive(tags.get("machine/process", "")):
            client.set_terminated(stale.info.run_id, RunStatus.to_string(RunStatus.KILLED))


def import_run(folder: Path) -> str:
    """Sends what the outbox holds of a run to the server; returns the address of its page."""
    client = connect()
    if not is_server():
        raise UserError("MLFLOW_TRACKING_URI is not set: it names the server that the run is to be sent to")
    run_id = outbox.import_run(folder, client)
    return address(client.get_run(run_id).info.experiment_id, run_id)


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
