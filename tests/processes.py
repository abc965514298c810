"""The command line in processes of its own, and what they leave in a folder's store."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from trust.forked import REPOSITORY as REPOSITORY
from trust.forked import ForkedCommand, environment
from trust.forked import copy_ready_store as copy_ready_store
from trust.forked import start as start

Command = subprocess.Popen[str] | ForkedCommand


def start_interpreter(
    folder: Path, *words: str, launcher: Sequence[str] = (), **variables: str
) -> subprocess.Popen[str]:
    """Starts `python <launcher> -m emotion_lightning <words>`; a launcher is for example torchrun with its options."""
    variables = environment(variables)
    command = [sys.executable, *launcher, "-m", "emotion_lightning", *words]
    return subprocess.Popen(
        command, cwd=folder, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finished(process: Command, code: int = 0) -> str:
    """All that it printed, once it has ended with `code`."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, out + err
    return out + err


def until(true: Callable[[], object], process: Command, seconds: float = 180) -> None:
    """Waits until `true()`; a process that has ended before that is a failure."""
    end = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if true():
            return
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "waited in vain"
        # a question to MLflow takes longer than 20 ms; asked without a pause, it would keep a core from the process
        time.sleep(max(0.02, 3 * (time.monotonic() - began)))


def has_checkpoint(folder: Path) -> bool:
    """Whether a run in the folder has an epoch behind it."""
    return any((folder / "mlruns" / "checkpoints").glob("*/last.ckpt"))


def runs(folder: Path) -> list[Run]:
    """All runs of the folder's store that are not a study's own."""
    client = MlflowClient(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return [run for run in found if run.data.tags.get("kind") != "study"]
