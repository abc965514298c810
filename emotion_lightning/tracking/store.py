"""Opens MLflow's store and finds runs in it.

Without MLFLOW_TRACKING_URI the store is mlruns/mlflow.db with artifacts in mlruns/artifacts.
"""

import logging
import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlparse

import mlflow
import sqlalchemy
from filelock import FileLock
from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
from mlflow.tracking import MlflowClient

from emotion_lightning.errors import UserError
from emotion_lightning.tracking import server

ROOT = Path("mlruns")
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


def uri() -> str:
    """Returns the tracking URI: MLFLOW_TRACKING_URI, or the local store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or local()


def shown_uri() -> str:
    """Returns the tracking URI for messages, without its password."""
    password = urlparse(uri()).password
    return uri().replace(f":{password}@", ":***@", 1) if password else uri()


def local(folder: Path = ROOT) -> str:
    """Returns the URI of the SQLite store in a folder."""
    return f"sqlite:///{(folder / 'mlflow.db').resolve()}"


def shared() -> bool:
    """Returns whether other machines can reach the store: it is not a file, and its address is not this machine's own."""
    parsed = urlparse(uri())
    return not parsed.scheme.startswith(("sqlite", "file")) and parsed.hostname not in (
        "localhost",
        "127.0.0.1",
        "::1",
    )


def require_usable() -> None:
    """Checks, before corpora are read, that the store can be reached; a local one need not exist yet.

    Raises: UserError as `connect`.
    """
    if uri() == local():
        _require_plain_name()
    else:
        connect()


def connect() -> MlflowClient:
    """Returns a client of the store. A missing local store is made first.

    Raises:
        UserError: MLFLOW_TRACKING_URI is not an address, or the store at it cannot be used.
    """
    os.environ.pop("MLFLOW_RUN_ID", None)  # set by `mlflow run` and schedulers: MLflow would continue that run
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # they print a traceback of each error, which MLflow then raises, or which only costs a figure of the machine's load
    for name in ("mlflow.store.db.utils", "mlflow.system_metrics.system_metrics_monitor"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # we print the URL of the run ourselves
    logging.getLogger("mlflow.pytorch").setLevel(logging.ERROR)  # it warns about pickle for each logged model
    if uri() == local():
        _require_plain_name()
        make_local(ROOT)
    elif is_server():
        # in seconds; MLflow's default of 120 is too long for a server that hangs
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        server.require_answer(uri(), shown_uri())
    elif urlparse(uri()).scheme.split("+")[0] not in DATABASES:
        raise UserError(
            f"MLFLOW_TRACKING_URI={shown_uri()}: not the address of an MLflow server or database; set it to "
            "http://host:port, sqlite:///file or postgresql+psycopg2://…, or unset it to write to mlruns/"
        )
    if uri() != local() and not is_server():
        _require_database()
    mlflow.set_tracking_uri(uri())
    return MlflowClient()


def _require_plain_name() -> None:
    if unusable := sorted({"%", "?", "#"} & set(str(ROOT.resolve()))):
        raise UserError(
            f"the folder '{Path.cwd()}' has '{unusable[0]}' in its name, which an MLflow address cannot have; rename it"
        )


def _require_database() -> None:
    """Connects once, because MLflow would retry for a minute and print every attempt."""
    try:
        with closing(sqlalchemy.create_engine(uri()).connect()) as connection:
            sqlalchemy.inspect(connection).get_table_names()  # any file can be opened as an SQLite database
    except Exception as error:  # of SQLAlchemy, of a database driver, or of a missing driver
        reason = str(getattr(error, "orig", error)).split("\n")[0][:200]
        raise UserError(f"the MLflow database at {shown_uri()} cannot be used ({reason})") from None


def is_server() -> bool:
    """Returns whether the store is a tracking server."""
    return uri().startswith("http")


def make_local(folder: Path) -> None:
    """Makes an SQLite store in the folder, under a lock: processes that migrate a fresh database at the same time crash.

    It is made aside and moved: MLflow cannot go on with a database whose making was killed.
    """
    database, ready = folder / "mlflow.db", folder / ".ready"
    if ready.exists() and database.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not (ready.exists() and database.exists()):
            if not database.exists():
                _make_database(database)
            MlflowClient(local(folder)).search_experiments()
            with closing(sqlite3.connect(database)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # writers and the UI do not wait for each other
            ready.touch()


def _make_database(database: Path) -> None:
    aside = database.parent / ".making"
    shutil.rmtree(aside, ignore_errors=True)  # left by a process that was killed
    aside.mkdir()
    client = MlflowClient(local(aside))
    client.search_experiments()
    client._tracking_client.store.engine.dispose()  # nothing of the database is in a journal then
    (aside / database.name).replace(database)
    shutil.rmtree(aside)


def merge_write_ahead_log() -> None:
    """Merges mlflow.db-wal into mlflow.db, so that a copy of this one file is complete. Does nothing if the database is busy."""
    if uri() == local() and (database := ROOT / "mlflow.db").exists():
        with suppress(sqlite3.Error), closing(sqlite3.connect(database, timeout=0)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def address(experiment_id: str, run_id: str) -> str:
    """Returns the address of the run's page; for a local store, with the command that serves it."""
    page = f"/#/experiments/{experiment_id}/runs/{run_id}?workflowType=machine_learning"
    return shown_uri().rstrip("/") + page if is_server() else f"make ui → http://127.0.0.1:5000{page}"


def find_run(client: MlflowClient, run_id: str) -> Run:
    """Returns the run with this id, or the only run whose id starts with it.

    Raises:
        UserError: no run, or more than one.
    """
    if not run_id:
        raise UserError("RUN: the id of a run is needed, or the beginning of it; `make ui` lists the runs")
    try:
        if len(run_id) == 32:
            return _with_own_id(client.get_run(run_id))
        matches = [r for r in runs(client) if r.info.run_id.startswith(run_id)]
    except MlflowException as error:
        raise UserError(f"no run '{run_id}' at {shown_uri()} ({error.message})") from None
    if len(matches) != 1:
        raise UserError(f"{len(matches) or 'no'} runs start with '{run_id}' at {shown_uri()}; `make ui` lists them")
    return _with_own_id(matches[0])


def require_id(run_id: str) -> str:
    """Returns the id of a run.

    Raises: UserError for one that MLflow does not make: folders are named by ids, and `..` would be another folder.
    """
    if not re.fullmatch("[0-9a-f]{32}", run_id):
        raise UserError(f"the store at {shown_uri()} has a run with the id '{run_id}', which MLflow does not make")
    return run_id


def _with_own_id(run: Run) -> Run:
    require_id(run.info.run_id)
    return run


@contextmanager
def artifact(run: Run, name: str) -> Iterator[Path]:
    """Gives a file of a run while the block runs: the file itself in a store on this machine, else a copy.

    Each kind of store has an error of its own for a missing file.
    """
    repository = get_artifact_repository(run.info.artifact_uri)
    with TemporaryDirectory() as folder:  # MLflow would make a copy in any case, and never remove it
        is_here = isinstance(repository, LocalArtifactRepository)
        yield Path(repository.download_artifacts(name, None if is_here else folder))


def runs(client: MlflowClient, filter_string: str = "", view: int = ViewType.ACTIVE_ONLY) -> Iterator[Run]:
    """Yields all runs of the store, newest first, that match an MLflow filter string; `view` says whether also deleted ones."""
    experiments, token = [e.experiment_id for e in client.search_experiments()], None
    while experiments:
        page = client.search_runs(experiments, filter_string, view, max_results=1000, page_token=token)
        yield from page
        if not (token := page.token):
            return
