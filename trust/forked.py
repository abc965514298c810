"""Starts commands as forks of a process that has imported torch, Lightning and MLflow: about 5 s less for each start.

The tests use it too. Commands that start ranks need a process of their own, because Lightning reads their variables when it
is imported, and starts a second rank by the command line of its process.
"""

import functools
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path

from benchmarks.timing import REPOSITORY
from emotion_lightning.tracking import store

PATIENCE = 300  # s that a command may take

# emotion_lightning itself is first and only its __init__: it sets variables that the libraries read at import
LIBRARIES: tuple[str, ...] = (
    "emotion_lightning",
    "torch",
    "torchaudio",
    "timm",
    "lightning",
    "torchmetrics",
    "mlflow",
    "mlflow.pytorch",
)
LIBRARIES += ("mlflow.system_metrics.system_metrics_monitor", "sklearn.svm", "skops.io", "matplotlib.figure", "typer")


@functools.cache
def fork_server() -> ForkServerContext:
    """Returns the context whose server has the libraries imported; it starts with the first command."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    return context


@functools.cache
def ready_store() -> "tempfile.TemporaryDirectory[str]":
    """Returns a folder with an empty store: MLflow takes seconds to make one."""
    folder = tempfile.TemporaryDirectory()
    store.make_local(Path(folder.name))
    return folder


def copy_ready_store(folder: Path) -> None:
    """Gives the working folder an empty store of its own as mlruns/."""
    shutil.copytree(ready_store().name, folder / "mlruns")


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables of this process with others added; MLFLOW_TRACKING_URI is for this process alone."""
    inherited = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    return {**inherited, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200", **variables}


def start(folder: Path, *words: str, before: Callable[[], None] | None = None, **variables: str) -> "ForkedCommand":
    """Starts `emotion-lightning <words>` in `folder` with these environment variables; `before` is called in it first."""
    return ForkedCommand(words, folder, environment(variables), before)


def ended(folder: Path, *words: str, before: Callable[[], None] | None = None, code: int = 0) -> str:
    """Runs a command to its end and returns what it printed.

    Raises: RuntimeError for another exit status than `code`.
    """
    process = start(folder, *words, before=before, TMPDIR=str(folder / "tmp"), OMP_NUM_THREADS="1")
    try:
        said = "".join(process.communicate(PATIENCE))
    finally:
        process.kill()
    if process.returncode != code:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}: {' '.join(said.split())[-400:]}")
    return said


def run_command(
    words: Sequence[str],
    folder: Path,
    variables: dict[str, str],
    output: Path,
    before: Callable[[], None] | None = None,
) -> None:
    """Runs `python -m emotion_lightning <words>` in this process, with the outputs in two files."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    for number, name in ((1, "stdout"), (2, "stderr")):
        descriptor = os.open(output / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.argv = ["emotion-lightning", *words]
    from emotion_lightning.cli.main import main

    if before:
        before()
    main()


class ForkedCommand:
    """A command with the methods of subprocess.Popen that the tests use."""

    def __init__(
        self,
        words: Sequence[str],
        folder: Path,
        variables: dict[str, str],
        before: Callable[[], None] | None = None,
    ):
        self.output = tempfile.TemporaryDirectory()
        files = Path(self.output.name)
        self.process = fork_server().Process(target=run_command, args=(words, folder, variables, files, before))
        self.process.start()
        assert self.process.pid
        self.pid = self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def wait(self) -> int | None:
        self.process.join()
        return self.process.exitcode

    def send_signal(self, signum: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Waits for the end; returns all that it wrote to stdout and stderr."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.process), timeout or 0)
        return self.written()

    def written(self, errors: str = "strict") -> tuple[str, str]:
        """Returns what it has written to stdout and stderr; `errors`: what becomes of bytes that are not UTF-8."""
        files = (Path(self.output.name, name) for name in ("stdout", "stderr"))
        out, err = (file.read_text(encoding="utf-8", errors=errors) if file.exists() else "" for file in files)
        return out, err
