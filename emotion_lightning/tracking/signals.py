"""Turns SIGTERM and Ctrl-C into an exception, so that a run ends with the status KILLED."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

DEFER_SECONDS = 5.0


class Killed(BaseException):
    """Raised by SIGTERM and Ctrl-C. `run_id` names the run that was open, and is empty if there was none."""

    def __init__(self, signum: int):
        super().__init__(signum)
        self.signum = signum
        self.run_id = ""


@contextmanager
def raised() -> Iterator[None]:
    """Turns the first SIGTERM or SIGINT into Killed.

    Inside an MLflow database call it is deferred, at most 5 s, so that SQLite is not left locked.
    """
    first_signal = 0.0
    retry: threading.Timer | None = None

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal first_signal, retry
        first_signal = first_signal or time.monotonic()
        if _in_database(frame) and time.monotonic() - first_signal < DEFER_SECONDS:
            retry = threading.Timer(0.01, os.kill, (os.getpid(), signum))
            retry.start()
            return
        ignore()
        raise Killed(signum)

    before = {signum: signal.signal(signum, stop) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        if retry:  # the signal came during the last database call
            ignore()
            retry.cancel()
            retry.join()
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _in_database(frame: FrameType | None) -> bool:
    """Returns whether this frame is in MLflow's database store, or was called from it."""
    while frame and not frame.f_globals.get("__name__", "").endswith("sqlalchemy_store"):
        frame = frame.f_back
    return frame is not None


def ignore() -> None:
    """Ignores both signals from now on.

    torchrun and SLURM may send a signal twice. If the second one interrupted the end of a run, MLflow would set the run to
    FINISHED when the process exits.
    """
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, signal.SIG_IGN)
