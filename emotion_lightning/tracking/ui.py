"""MLflow's own pages over the store."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

from emotion_lightning.errors import UserError
from emotion_lightning.tracking.store import connect, is_server, uri


def serve(port: int, say: Callable[[str], None]) -> None:
    """MLflow's server over the store, lean (one worker, no job runner: 0.5 GB and not 3), until Ctrl-C."""
    connect()
    if is_server():
        say(f"the store is a server already: {uri()}")
        return
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise UserError(f"port {port} is in use (another `make ui`?); PORT=5001 takes another")
    say(f"MLflow is at http://127.0.0.1:{port} (Ctrl-C ends it)")
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with suppress(KeyboardInterrupt):
        subprocess.run([*command, "--backend-store-uri", uri()], env=environment, check=False)
