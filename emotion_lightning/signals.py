"""SIGTERM and Ctrl-C, raised where a run stands so that it ends with the status KILLED."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Killed(BaseException):
    """`run_id` is that of the run which was being written, if any."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum
        self.run_id = ""


@contextmanager
def raised() -> Iterator[None]:
    """The first SIGTERM or Ctrl-C raises Killed; one that comes amid a write to the database does so when it is written, or
    the database would stay locked."""

    def stop(signum: int, frame: FrameType | None) -> None:
        if _in_database(frame):
            threading.Timer(0.01, os.kill, (os.getpid(), signum)).start()  # asks again
            return
        ignore()
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


def ignore() -> None:
    """torchrun and SLURM may send theirs twice, or while a lost rank is dealt with: MLflow sets a run whose end is cut short
    to FINISHED when the process exits."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)
