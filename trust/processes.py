"""Our commands as processes that a shell would start, for faults that end them, and for servers."""

import os
import socket
import sys

from benchmarks.timing import REPOSITORY

OURS = (sys.executable, "-m", "emotion_lightning")


def environment(**variables: str) -> dict[str, str]:
    """Returns the variables of this process and others, for this checkout's code and the working folder's own store."""
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "MLFLOW_TRACKING_URI": "", **variables}


def free_port() -> int:
    """Returns a port of 127.0.0.1 that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
