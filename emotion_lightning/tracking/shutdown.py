"""The end of a process that has torch and MLflow loaded."""

import atexit
import os
import sys
import threading
from typing import NoReturn


def leave(status: int) -> NoReturn:
    """Ends the process: threads joined, what was registered for the end done, output written. Its memory is left to the
    system, since taking torch's and MLflow's objects apart one by one takes Python 1.5 s. Under a profiler or a tracer
    Python ends it."""
    if sys.getprofile() or sys.gettrace():
        sys.exit(status)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    if "mlflow" in sys.modules:
        from emotion_lightning.tracking import store

        store.settle()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed by whoever started us
        try:
            stream.flush()
        except OSError:
            status = status or 120  # as Python has it
    os._exit(status)
