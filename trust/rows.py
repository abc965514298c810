"""Rows of the tables of `make trust`: what was tried, how many times, and what was lost."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

HEADER = ("what was tried", "times", "lost or wrong", "seen")


@dataclass(frozen=True)
class Setting:
    """The arguments of a part. `work`: an empty folder; `share`: 1 for the full number of tries, less for a short form."""

    work: Path
    share: float = 1.0
    seed: int = 0

    def times(self, full: int, least: int = 1) -> int:
        """Returns how many tries to make of a full number."""
        return max(least, round(full * self.share))


@dataclass(frozen=True)
class Row:
    """One line of a table. `faults` names each loss and each wrong answer; none is what we want. `seen`: what else to know."""

    label: str
    times: int
    faults: tuple[str, ...] = ()
    seen: str = ""

    def cells(self) -> tuple[str, ...]:
        """Returns the cells under HEADER."""
        lost = f"{len(self.faults)}: {'; '.join(self.faults[:3])}" if self.faults else "nothing"
        return self.label, str(self.times), lost.replace("|", "/").replace("\n", " "), self.seen


def counts(outcomes: Counter[str]) -> str:
    """Returns how often there was each outcome."""
    return ", ".join(f"{count} × {outcome}" for outcome, count in sorted(outcomes.items()) if outcome)
