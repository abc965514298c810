"""What a benchmark yields, and how it is measured and told."""

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

from emotion_lightning.tracking import environment as machine

REPOSITORY = Path(__file__).parent.parent


@dataclass(frozen=True)
class Setting:
    """What every benchmark is given. `data`: folder of real corpora, where there is one; `work`: an empty folder."""

    data: Path | None
    work: Path
    rounds: int = 5


class NotHere(Exception):
    """A benchmark that cannot run on this machine, and what it lacks."""


@dataclass(frozen=True)
class Row:
    """One line of a table: what was measured, round by round, and what it is held against.

    With `other`, the same rounds of the other side, the figure is ours / other; without, it is ours. `goal` is what the project
    set itself, `guard` what `make bench-check` refuses beyond; both are least values, or most values if `at_most`.
    """

    what: str
    ours: Sequence[float]
    unit: str
    other: Sequence[float] = ()
    against: str = ""
    goal: float | None = None
    guard: float | None = None
    at_most: bool = False

    @property
    def rounds(self) -> list[float]:
        if not self.other:
            return list(self.ours)
        return [ours / other for ours, other in zip(self.ours, self.other, strict=True)]

    @property
    def figure(self) -> float:
        return statistics.median(self.rounds)

    def meets(self, bound: float | None) -> bool:
        return bound is None or (self.figure <= bound if self.at_most else self.figure >= bound)

    def cells(self) -> tuple[str, ...]:
        """what, ours, against, the other side, figure with its spread, goal."""
        sign = "≤" if self.at_most else "≥"
        spread = f" [{number(min(self.rounds))}, {number(max(self.rounds))}]" if len(self.rounds) > 1 else ""
        goal = (
            ""
            if self.goal is None
            else f"{sign} {self.goal:g}: {'reached' if self.meets(self.goal) else 'NOT reached'}"
        )
        return (
            self.what,
            f"{number(statistics.median(self.ours))} {self.unit}",
            self.against,
            f"{number(statistics.median(self.other))} {self.unit}" if self.other else "",
            f"{number(self.figure)}{'×' if self.other else ''}{spread}",
            goal,
        )


HEADER = ("what", "ours", "against", "theirs", "figure, median [least, most]", "goal")


def number(value: float) -> str:
    """Three digits, which is more than a busy machine can hold."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def in_turns(rounds: int, *sides: Callable[[], float]) -> list[list[float]]:
    """Each side's figures, measured one after another, `rounds` times; a first round that warms up is thrown away."""
    for side in sides:
        side()
    turns = [[side() for side in sides] for _ in range(rounds)]
    return [list(column) for column in zip(*turns, strict=True)]


def seconds(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def run(*command: str | Path, cwd: Path, status: int = 0, **variables: str) -> str:
    """What a command printed; it must end with `status`."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != status:
        raise RuntimeError(
            f"{' '.join(map(str, command))}: exit status {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def ours(*words: str, cwd: Path, status: int = 0) -> str:
    """The same of this checkout's Python with these words, such as -m emotion_lightning train svm; its store lies in `cwd`."""
    return run(sys.executable, *words, cwd=cwd, status=status, PYTHONPATH=str(REPOSITORY), MLFLOW_TRACKING_URI="")


def stamp() -> str:
    """The machine, the versions and the commit that figures were measured with."""
    told = machine.tags("cpu")
    names = ("torch", "lightning", "timm", "scikit-learn", "mlflow")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    commit = machine.commit()
    mark = " with changes" if commit.get("git/dirty") == "True" else ""
    return (
        f"{time.strftime('%Y-%m-%d')}, {told['machine/cores']} cores of {told['machine/cpu']}, {device}; Python "
        f"{platform.python_version()}, {versions}; commit {commit.get('mlflow.source.git.commit', 'unknown')[:7]}{mark}"
    )
