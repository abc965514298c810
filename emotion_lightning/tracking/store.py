"""Where MLflow's store lies, and finding runs in it.

Without MLFLOW_TRACKING_URI the store is mlruns/mlflow.db with artifacts in mlruns/artifacts.
"""

import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlparse

import mlflow
from filelock import FileLock
from mlflow.entities import Run
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from emotion_lightning.errors import UserError
from emotion_lightning.tracking import server

ROOT = Path("mlruns")


def uri() -> str:
    """The tracking URI in force."""
    return os.environ.get("MLFLOW_TRACKING_URI") or local()


def local(folder: Path = ROOT) -> str:
    """The URI of the folder's own store."""
    return f"sqlite:///{(folder / 'mlflow.db').resolve()}"


def shared() -> bool:
    """Whether other machines reach the store: it is neither a file nor on this machine's own address."""
    place = urlparse(uri())
    return not place.scheme.startswith(("sqlite", "file")) and place.hostname not in ("localhost", "127.0.0.1", "::1")


def connect() -> MlflowClient:
    """The client of the store, which is made first where it is missing."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # a server's; we print it ourselves
    logging.getLogger("mlflow.pytorch").setLevel(logging.ERROR)  # warns of pickle at each model that is logged
    if uri() == local():
        make_local(ROOT)
    elif is_server():
        # seconds; MLflow's 120 are long for a server that hangs
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        server.must_answer(uri())
    mlflow.set_tracking_uri(uri())
    return MlflowClient()


def is_server() -> bool:
    return uri().startswith("http")


def make_local(folder: Path) -> None:
    """SQLite in the folder, made under a lock: eight processes that migrate a fresh database at once crash each other."""
    database, ready = folder / "mlflow.db", folder / ".ready"
    if ready.exists() and database.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not (ready.exists() and database.exists()):
            MlflowClient(local(folder)).search_experiments()
            with closing(sqlite3.connect(database)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # writers and the UI do not wait for each other
            ready.touch()


def settle() -> None:
    """Brings what SQLite keeps in mlflow.db-wal into mlflow.db, so that a copy of the one file is whole; waits for nobody."""
    if uri() == local() and (database := ROOT / "mlflow.db").exists():
        with suppress(sqlite3.Error), closing(sqlite3.connect(database, timeout=0)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def address(experiment_id: str, run_id: str) -> str:
    """Where the run's page is, or will be once `make ui` serves the local store."""
    page = f"/#/experiments/{experiment_id}/runs/{run_id}"
    return uri().rstrip("/") + page if is_server() else f"make ui → http://127.0.0.1:5000{page}"


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
