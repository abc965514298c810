"""Our commands in forked processes, and the working folders that the parts of the suite start them in."""

import importlib
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from benchmarks.timing import REPOSITORY
from emotion_lightning.tracking import store
from trust import experiments, forked
from trust.places import TIMED

Hook = Callable[[], None]


def servers() -> Any:
    """Returns the module of the tests that starts tracking servers."""
    if (tests := str(REPOSITORY / "tests")) not in sys.path:
        sys.path.append(tests)
    return importlib.import_module("servers")


class Command(forked.ForkedCommand):
    """`emotion-lightning <words>` in a process of its own. `before` is called in that process first."""

    def __init__(self, folder: Path, *words: str, before: Hook | None = None, **variables: str):
        given = {"OMP_NUM_THREADS": "1", "NO_COLOR": "1", **variables}
        super().__init__(words, folder, forked.environment(given), before)

    def alive(self) -> bool:
        """Returns whether it has not ended."""
        return bool(self.process.is_alive())

    def ended(self, seconds: float = 300, until: Callable[[], bool] | None = None) -> "Ended":
        """Waits for the end. After `seconds`, or as soon as `until()` is true, the process is killed and its status is None."""
        end = time.monotonic() + seconds
        while self.alive() and time.monotonic() < end and not (until and until()):
            self.process.join(0.02 if until else seconds)
        status = self.process.exitcode
        if status is None:
            self.process.kill()
            self.process.join()
        out, err = self.written(errors="replace")
        return Ended(status, out, err)


@dataclass(frozen=True)
class Ended:
    """What a command left: its exit status, None if it was killed because it took too long, and all that it wrote."""

    status: int | None
    out: str
    err: str

    @property
    def printed(self) -> str:
        """Returns what it wrote, errors last."""
        return self.out + self.err

    @property
    def refused(self) -> str:
        """Returns what is wrong with a refusal; empty for status 2 and one line of error, among other lines."""
        lines = [line for line in self.printed.splitlines() if line.startswith("error:")]
        if self.status is None:
            return "it did not end"
        if "Traceback" in self.printed or self.status != 2 or len(lines) != 1:
            return f"status {self.status} and no single line of error: {' '.join(self.printed.split())[-300:]}"
        return ""

    def fault(self) -> str:
        """Returns what is wrong with the end of a command that could not do its work; empty for one clear line and status 2."""
        lines = self.err.splitlines()
        if self.status == 2 and len(lines) == 1 and lines[0].startswith("error: "):
            return ""
        return f"status {self.status}, {len(lines)} lines: {' … '.join(lines[:1] + lines[-1:])[-300:]}"


def run(
    folder: Path,
    *words: str,
    before: Hook | None = None,
    seconds: float = 300,
    until: Callable[[], bool] | None = None,
    **variables: str,
) -> Ended:
    """Runs a command to its end, as `Command.ended` says."""
    return Command(folder, *words, before=before, **variables).ended(seconds, until)


def workplace(folder: Path, trees: Mapping[str, experiments.Tree] = experiments.PAIRED) -> Path:
    """Makes a working folder with an empty store and the experiments `net`, `vectors` and study `pair`, or other ones."""
    forked.copy_ready_store(folder)
    experiments.write(folder, trees)
    return folder


def runs(folder: Path) -> list[Run]:
    """Returns all runs of a folder's store."""
    client = MlflowClient(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    try:
        return list(store.runs(client))
    finally:
        client._tracking_client.store.engine.dispose()  # an open file would keep its disk from being made read-only


def sound(database: Path) -> bool:
    """Returns whether SQLite finds the database whole."""
    with closing(sqlite3.connect(database)) as connection:
        return bool(connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok")


def figures(run: Run) -> dict[str, float]:
    """Returns the metrics of a run that do not depend on the speed of the machine."""
    return {name: value for name, value in run.data.metrics.items() if not name.startswith(TIMED)}
