"""SIGTERM and Ctrl-C, raised where a run stands so that it ends with the status KILLED."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PATIENCE = 5.0  # seconds


class Killed(BaseException):
    """`run_id` is that of the run which was being written, if any."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum
        self.run_id = ""


@contextmanager
def raised() -> Iterator[None]:
    """The first SIGTERM or Ctrl-C raises Killed. One that comes amid a call to the database does so after the call, or the
    database would stay locked; after five seconds it waits no longer."""
    came = 0.0
    again: threading.Timer | None = None

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal came, again
        came = came or time.monotonic()
        if _in_database(frame) and time.monotonic() - came < PATIENCE:
            again = threading.Timer(0.01, os.kill, (os.getpid(), signum))
            again.start()
            return
        ignore()
        raise Killed(signum)

    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        if again:  # it came with the last call of all
            ignore()
            again.cancel()
            again.join()
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _in_database(frame: FrameType | None) -> bool:
    """Whether this is a frame of MLflow's database store, or one that the store has called."""
    while frame and not frame.f_globals.get("__name__", "").endswith("sqlalchemy_store"):
        frame = frame.f_back
    return frame is not None


def ignore() -> None:
    """torchrun and SLURM may send theirs twice, or while a lost rank is dealt with: MLflow sets a run whose end is cut short
    to FINISHED when the process exits."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)
