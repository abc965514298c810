"""The command line in processes of its own, and what they leave in a folder's store."""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from emotion_lightning.tracking import store

REPOSITORY = Path(__file__).parent.parent


@functools.cache
def ready_store() -> "tempfile.TemporaryDirectory[str]":
    """A folder with an empty store: MLflow takes seconds to make one."""
    folder = tempfile.TemporaryDirectory()
    store.make_local(Path(folder.name))
    return folder


def copy_ready_store(folder: Path) -> None:
    """Gives the working folder an empty store of its own as mlruns/."""
    shutil.copytree(ready_store().name, folder / "mlruns")


def start(folder: Path, *words: str, by: Sequence[str] = (), **variables: str) -> subprocess.Popen[str]:
    """`emotion-lightning <words>`, started in `folder` with these environment variables; `by`: what stands between python and
    it, such as torchrun's module with its options."""
    inherited = {
        k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"
    }  # other tests set it for this process
    variables = {**inherited, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200", **variables}
    command = [sys.executable, *by, "-m", "emotion_lightning", *words]
    return subprocess.Popen(
        command, cwd=folder, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finished(process: subprocess.Popen[str], code: int = 0) -> str:
    """All that it printed, once it has ended with `code`."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, out + err
    return out + err


def until(true: Callable[[], object], process: subprocess.Popen[str], seconds: float = 180) -> None:
    """Waits until `true()`; a process that has ended before that is a failure."""
    end = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def has_checkpoint(folder: Path) -> bool:
    """Whether a run in the folder has an epoch behind it."""
    return any((folder / "mlruns" / "checkpoints").glob("*/last.ckpt"))


def runs(folder: Path) -> list[Run]:
    """All runs of the folder's store that are not a study's own."""
    client = MlflowClient(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    found = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return [run for run in found if run.data.tags.get("kind") != "study"]
