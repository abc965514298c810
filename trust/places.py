"""Working folders with experiments of seconds on generated voices, and what can be read in them without our own code."""

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import torch

from trust import experiments, forked

TIMED = ("seconds", "clips_per_second", "system/")


def make(folder: Path, cache: Path | None = None, store: bool = True) -> Path:
    """Makes a working folder with the experiments `network`, `searched` and `estimator` and the study `demo_study`.

    `cache` is the folder of the cache, `.cache` in the working folder if None; an empty store is there if `store`.
    """
    (folder / "tmp").mkdir(parents=True)
    trees = dict(experiments.SEARCHED)
    if cache:
        trees["network"] = experiments.LONGER | {"data": {**experiments.LONGER["data"], "cache": str(cache)}}
    experiments.write(folder, trees)
    if store:
        forked.copy_ready_store(folder)
    return folder


def copy(folder: Path, target: Path) -> Path:
    """Copies a working folder, and changes the addresses of files in its store."""
    shutil.copytree(folder, target)
    with closing(sqlite3.connect(target / "mlruns" / "mlflow.db")) as connection, connection:
        for table, column in (
            ("experiments", "artifact_location"),
            ("runs", "artifact_uri"),
            ("logged_models", "artifact_location"),
        ):
            change = f"UPDATE {table} SET {column} = replace({column}, ?, ?)"
            connection.execute(change, (folder.as_uri() + "/", target.as_uri() + "/"))
    return target


def still_at_work(folder: Path, seconds: float = 10) -> list[int]:
    """Waits until no process has this working folder, and returns those that still have it after so many seconds."""
    end = time.monotonic() + seconds
    while (found := _processes(folder)) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def _processes(folder: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if Path(process.cwd()) == folder:
                found.append(process.pid)
    return found


def rows(folder: Path, query: str, database: str = "mlflow.db") -> list[tuple[Any, ...]]:
    """Returns what a query finds in a database of mlruns/; nothing where there is none or it has no such table yet."""
    file = folder / "mlruns" / database
    if not file.exists():
        return []
    with closing(sqlite3.connect(file, timeout=60)) as connection:
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise


def runs(folder: Path) -> dict[str, str]:
    """Returns the status of each run that is not a study's or a search's own, by its id."""
    own = "SELECT run_uuid FROM tags WHERE key = 'kind' AND value IN ('study', 'tuning')"
    query = f"SELECT run_uuid, status FROM runs WHERE run_uuid NOT IN ({own}) ORDER BY start_time"
    return dict(rows(folder, query))


def epochs(folder: Path) -> list[tuple[str, int, float, int, str]]:
    """Returns (metric, epoch, value, time, run) of all that was logged after epochs, sorted."""
    found = rows(folder, "SELECT key, step, value, timestamp, run_uuid FROM metrics WHERE step > 0 ORDER BY 1, 2")
    return [row for row in found if not row[0].startswith(TIMED)]


def figures(folder: Path) -> list[tuple[str, float]]:
    """Returns the last values of the metrics of finished runs that do not depend on the machine's speed, sorted."""
    query = "SELECT key, value FROM latest_metrics JOIN runs USING (run_uuid) WHERE status = 'FINISHED'"
    return sorted(row for row in rows(folder, query) if not row[0].startswith(TIMED))


def files(folder: Path) -> dict[str, str]:
    """Returns the digest of each file in a folder that is no lock, by its path."""
    return {str(file.relative_to(folder)): _digest(file) for file in _files(folder)}


def half_checkpoints(folder: Path) -> Iterator[str]:
    """Yields a line for each checkpoint of a store that torch cannot read."""
    for file in (folder / "mlruns" / "checkpoints").glob("*/*.ckpt"):
        try:
            torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever torch makes of half a file
            yield f"half a checkpoint: {file.name} ({type(error).__name__})"


def _files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix != ".lock":
            yield file


def _digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()[:16]
