"""A team's tracking server as in docs/tracking.md: MLflow over PostgreSQL, artifacts through the server."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import requests
from mlflow.tracking import MlflowClient


def programs() -> Path | None:
    """The folder with initdb and postgres; None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    folders = (
        [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    )
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ends(process: subprocess.Popen[bytes], signum: signal.Signals) -> None:
    """Ends the process and all that it has started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)
        os.killpg(process.pid, signum)
    process.wait(60)


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The address of a fresh database on a port of 127.0.0.1; PostgreSQL refuses to run as root and then runs as another user."""
    here, port = programs(), free_port()
    assert here
    user = next(u for u in ("postgres", "nobody") if u in {p.pw_name for p in pwd.getpwall()})
    become = ["runuser", "-u", user, "--"] if os.geteuid() == 0 else []
    data = folder / "data"
    data.mkdir()
    if become:
        shutil.chown(data, user)
    subprocess.run(
        [*become, here / "initdb", "-D", data, "-U", "team", "--auth", "trust", "--no-sync"],
        cwd="/", check=True, capture_output=True,
    )  # fmt: skip
    options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={data}", "-c", "fsync=off"]
    with (folder / "postgres.log").open("wb") as log:
        process = subprocess.Popen(
            [*become, here / "postgres", "-D", data, "-p", str(port), *options],
            cwd="/", stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        ready = [here / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-U", "team", "-q"]
        wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, process)
        yield f"postgresql+psycopg2://team@127.0.0.1:{port}/postgres"
    finally:
        ends(process, signal.SIGINT)


class Server:
    """MLflow's server, to be stopped and started again."""

    def __init__(self, database: str, folder: Path):
        self.database, self.folder, self.port = database, folder, free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["--backend-store-uri", self.database, "--artifacts-destination", str(self.folder / "artifacts")]
        words += ["--serve-artifacts", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        variables = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words],
                cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
                env={**variables, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
            )  # fmt: skip
        wait_until(self.answers, self.process)

    def answers(self) -> bool:
        with suppress(requests.RequestException):
            return requests.get(f"{self.uri}/health", timeout=5).ok
        return False

    def stop(self) -> None:
        """Ends it; what is under way is broken off."""
        if self.process:
            ends(self.process, signal.SIGKILL)

    def signal(self, signum: signal.Signals) -> None:
        """SIGSTOP: it takes connections and never answers; SIGCONT: it goes on."""
        assert self.process
        os.killpg(self.process.pid, signum)

    def client(self) -> MlflowClient:
        return MlflowClient(self.uri)


def wait_until(true: object, process: subprocess.Popen[bytes], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not true():  # type: ignore[operator]
        assert process.poll() is None, "it has ended; see its log"
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
