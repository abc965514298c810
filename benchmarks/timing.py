"""Rows of benchmark tables, and the functions that measure and format them."""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from emotion_lightning.tracking import environment

REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True)
class Setting:
    """The arguments of a benchmark. `data`: folder of real corpora, or None; `work`: an empty folder."""

    data: Path | None
    work: Path
    rounds: int = 5


class Unavailable(Exception):
    """Raised by a benchmark that cannot run on this machine; the message says what is missing."""


@dataclass(frozen=True)
class Row:
    """One row of a table: our figure in each round, and what it is compared with.

    `other` holds the figures of the compared program in the same rounds; with it the row's figure is ours / other, without
    it ours. `goal` is the goal of the project, `guard` the limit of `make bench-check`. Both are minimum values, or
    maximum values if `at_most`.
    """

    label: str
    ours: Sequence[float]
    unit: str
    other: Sequence[float] = ()
    against: str = ""
    goal: float | None = None
    guard: float | None = None
    at_most: bool = False

    @property
    def rounds(self) -> list[float]:
        """The figure of each round."""
        if not self.other:
            return list(self.ours)
        return [ours / other for ours, other in zip(self.ours, self.other, strict=True)]

    @property
    def figure(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    def meets(self, bound: float | None) -> bool:
        """Returns whether the figure reaches `bound`; no bound is always reached."""
        return bound is None or (self.figure <= bound if self.at_most else self.figure >= bound)

    def cells(self) -> tuple[str, ...]:
        """Returns the cells under HEADER: label, ours, against, theirs, figure with its spread, goal."""
        spread = f" [{number(min(self.rounds))}, {number(max(self.rounds))}]" if len(self.rounds) > 1 else ""
        goal = ""
        if self.goal is not None:
            sign = "≤" if self.at_most else "≥"
            goal = f"{sign} {self.goal:g}: {'reached' if self.meets(self.goal) else 'NOT reached'}"
        return (
            self.label,
            f"{number(statistics.median(self.ours))} {self.unit}",
            self.against,
            f"{number(statistics.median(self.other))} {self.unit}" if self.other else "",
            f"{number(self.figure)}{'×' if self.other else ''}{spread}",
            goal,
        )


HEADER = ("what", "ours", "against", "theirs", "figure, median [min, max]", "goal")


def number(value: float) -> str:
    """Formats a value with three digits; a busy machine does not reproduce more."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def in_turns(rounds: int, *programs: Callable[[], float]) -> list[list[float]]:
    """Measures the programs in turns, and returns the figures of each; an additional first round warms up and is dropped."""
    for program in programs:
        program()
    turns = [[program() for program in programs] for _ in range(rounds)]
    return [list(column) for column in zip(*turns, strict=True)]


def seconds(action: Callable[[], object]) -> float:
    """Returns how many seconds `action` takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def run(*command: str | Path, cwd: Path, status: int = 0, **variables: str) -> str:
    """Runs a command and returns its output. Raises: RuntimeError if it does not exit with `status`."""
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != status:
        raise RuntimeError(
            f"{' '.join(map(str, command))}: exit status {result.returncode}\n{result.stdout}{result.stderr}"
        )
    return result.stdout


def run_ours(*arguments: str, cwd: Path, status: int = 0) -> str:
    """Runs this checkout's Python, for example with `-m emotion_lightning train svm`; the MLflow store is in `cwd`."""
    return run(sys.executable, *arguments, cwd=cwd, status=status, PYTHONPATH=str(REPOSITORY), MLFLOW_TRACKING_URI="")


def stamp() -> str:
    """Returns one line with the date, the machine, the versions and the commit of a measurement."""
    tags = environment.machine_tags("cpu")
    names = ("torch", "lightning", "timm", "scikit-learn", "mlflow")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    commit = environment.commit_tags()
    mark = " with changes" if commit.get("git/dirty") == "True" else ""
    return (
        f"{time.strftime('%Y-%m-%d')}, {tags['machine/cores']} cores of {tags['machine/cpu']}, {device}; Python "
        f"{platform.python_version()}, {versions}; commit {commit.get('mlflow.source.git.commit', 'unknown')[:7]}{mark}"
    )
