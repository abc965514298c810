"""Ends a process that has torch and MLflow loaded."""

import atexit
import os
import sys
import threading
from typing import NoReturn


def fast_exit(status: int) -> NoReturn:
    """Ends the process 1.5 s faster than Python would, because it does not free torch's and MLflow's objects one by one.

    Threads are joined, exit handlers run, and output is flushed, as in any exit. Under a profiler or a tracer, Python ends
    the process.
    """
    if sys.getprofile() or sys.gettrace():
        sys.exit(status)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if "mlflow" in sys.modules:
        from emotion_lightning.tracking import store

        store.merge_write_ahead_log()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None if the parent process has closed it
        try:
            stream.flush()
        except OSError:
            status = status or 120  # Python's own exit status in this case
    os._exit(status)
