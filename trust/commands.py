"""Runs `emotion-lightning` in a process of its own, as a user does, without importing torch each time."""

import functools
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.timing import REPOSITORY

# emotion_lightning is first, and only its __init__: it sets variables that the libraries read at import
LIBRARIES = (
    *("emotion_lightning", "torch", "torchaudio", "timm", "lightning", "torchmetrics", "mlflow", "mlflow.pytorch"),
    *("mlflow.system_metrics.system_metrics_monitor", "sklearn.svm", "skops.io", "matplotlib.figure", "typer"),
)


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit status (None: it was stopped because it took too long) and what it printed."""

    code: int | None
    printed: str

    @property
    def refused(self) -> str:
        """Returns what is wrong with a refusal; "" where it is status 2 and one clear line."""
        lines = [line for line in self.printed.splitlines() if line.startswith("error:")]
        if self.code is None:
            return "it did not end"
        if "Traceback" in self.printed or self.code != 2 or len(lines) != 1:
            return f"status {self.code} and no single line of error: {' '.join(self.printed.split())[-300:]}"
        return ""


@functools.cache
def _fork_server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    return context


def run(
    folder: Path, *words: str, seconds: float = 300, until: Callable[[], bool] | None = None, **variables: str
) -> Ended:
    """Runs `emotion-lightning WORDS` in `folder` with these environment variables, and waits for its end.

    It is killed (SIGKILL) after `seconds`, or as soon as `until()` is true; then its status is None.
    """
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "EMOTION_"))}
    environment = {**inherited, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200", "NO_COLOR": "1", **variables}
    with TemporaryDirectory() as output:
        file = Path(output) / "printed"
        process = _fork_server().Process(target=_command, args=(words, folder, environment, file))
        process.start()
        end = time.monotonic() + seconds
        while process.exitcode is None and time.monotonic() < end and not (until and until()):
            process.join(0.02 if until else seconds)
        if (code := process.exitcode) is None:
            process.kill()
            process.join()
        return Ended(code, file.read_text(encoding="utf-8", errors="replace") if file.exists() else "")


def _command(words: Sequence[str], folder: Path, variables: dict[str, str], output: Path) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in (1, 2):
        os.dup2(descriptor, number)
    sys.argv = ["emotion-lightning", *words]
    from emotion_lightning.cli.main import main

    main()
