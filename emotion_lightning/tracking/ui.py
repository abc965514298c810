"""Serves MLflow's web pages for the store."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

from emotion_lightning.errors import UserError
from emotion_lightning.tracking.pages import RUNS_PAGE
from emotion_lightning.tracking.store import connect, is_server, shown_uri, uri


def serve(port: int, say: Callable[[str], None]) -> None:
    """Runs MLflow's server on 127.0.0.1 until Ctrl-C, with one worker and no job runner: 0.5 GB of memory instead of 3.

    Raises:
        UserError: the port is in use.
    """
    client = connect()
    if is_server():
        say(f"MLFLOW_TRACKING_URI is a server, open it in a browser: {shown_uri()}")
        return
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(f"port {port} is in use (another `make ui`?); choose another one, for example PORT=5001")
    say(f"MLflow is at http://127.0.0.1:{port} (Ctrl-C stops it); the runs of each set of corpora, the best first:")
    for experiment in client.search_experiments():
        if experiment.name != "Default":  # MLflow makes this one, and we write no run to it
            say(f"  {experiment.name}: http://127.0.0.1:{port}/#/experiments/{experiment.experiment_id}/{RUNS_PAGE}")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with suppress(KeyboardInterrupt):
        subprocess.run([*command, "--backend-store-uri", uri()], env=environment, check=False)
