"""Studies in a loop, with random kills, for an hour: memory, file handles, threads, processes and disk must stay flat.

Each round is a study with settings of its own, killed at a random moment or not at all, then started again to its end, then
pruned. The first third of the rounds is compared with the last.
"""

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil

from trust import places
from trust.forked import ended
from trust.moments import Moment, Watch
from trust.rows import Row, Setting

MINUTES = 60
LEAST_ROUNDS = 3
ROOM = {"memory": 20.0, "file handles": 2.0, "threads": 1.0, "disk": 3.0}
"""How much more, in MB or as a number, the last third may take; 10 % more is allowed as well."""


@dataclass(frozen=True)
class Taken:
    """What this process and its fork server take after a round, by name; `left`: processes of the round that live on."""

    sizes: dict[str, float]
    left: int


def rows(setting: Setting) -> Iterator[Row]:
    """Runs the rounds; yields one row for the studies and one for each thing that must stay flat."""
    chance, rounds, faults, killed = Random(setting.seed), list[Taken](), list[str](), 0
    folder = places.make(setting.work / "place", setting.work / "cache")
    end = time.monotonic() + 60 * MINUTES * setting.share
    duration = 30.0
    while time.monotonic() < end or len(rounds) < LEAST_ROUNDS:
        words = ("study", "demo_study", f"data.batch_size={8 + len(rounds)}")
        began = time.monotonic()
        try:
            if is_killed := chance.random() < 0.7:
                killed += _killed(folder, words, Moment(chance.uniform(0.1, 1) * duration))
            ended(folder, *words)
            statuses = set(places.runs(folder).values())
            if statuses != {"FINISHED"}:
                faults.append(f"round {len(rounds)}: the runs are {sorted(statuses)}")
            ended(folder, "prune", "--older", "0h", "--all", "--yes")
        except RuntimeError as fault:
            faults.append(f"round {len(rounds)}: {fault}")
        if not is_killed:
            duration = time.monotonic() - began
        rounds.append(taken(folder))
        if rounds[-1].left:
            faults.append(f"round {len(rounds) - 1}: {rounds[-1].left} processes live on")
    yield Row("studies, killed and started again", len(rounds), tuple(faults), f"{killed} kills")
    yield from flat(rounds)
    megabytes = _size(folder / "tmp") / 1e6
    faults = [f"{megabytes:.1f} MB are left by {killed} kills"] if megabytes > killed else []
    yield Row("the system's temporary folder", killed, tuple(faults), f"{megabytes:.1f} MB are left by the kills")


def _killed(folder: Path, words: tuple[str, ...], moment: Moment) -> bool:
    """Starts a study that is killed at a moment; returns whether it was, and not over before."""
    try:
        ended(folder, *words, before=Watch(folder, moment=moment), code=-9)
    except RuntimeError as early:
        if "ended with 0" not in str(early):
            raise
        return False
    return True


def taken(folder: Path) -> Taken:
    """Measures this process, its fork server and the folder, once the processes of the folder had time to end."""
    own = psutil.Process()
    processes = [own, *own.children(recursive=True)]
    left = places.still_at_work(folder)
    sizes = {
        "memory": sum(process.memory_info().rss for process in processes) / 1e6,
        "file handles": float(sum(process.num_fds() for process in processes)),
        "threads": float(sum(process.num_threads() for process in processes)),
        "disk": (_size(folder) - _size(folder / "tmp")) / 1e6,
    }
    return Taken(sizes, len(left))


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def flat(rounds: list[Taken]) -> Iterator[Row]:
    """Yields a row for each thing that is taken: a fault where the last third takes more than the first."""
    third = max(1, len(rounds) // 3)
    for name, room in ROOM.items():
        sizes = [one.sizes[name] for one in rounds]
        first, last = statistics.median(sizes[:third]), statistics.median(sizes[-third:])
        unit = " MB" if name in ("memory", "disk") else ""
        seen = f"{first:.0f}{unit} at first, {last:.0f}{unit} at last"
        yield Row(name, len(rounds), (seen,) if last > 1.1 * first + room else (), seen)
