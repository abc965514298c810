"""SIGKILL while caches, runs, checkpoints, models, studies, searches and reports are made; then the command is started again.

The judge reads files and databases without our code: nothing that was logged is lost or doubled, no killed run stands as
RUNNING once a command has looked at the store, what is on disk is whole or refused, and the end equals that of an unbroken run.
"""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

from trust import moments, places
from trust.forked import ended
from trust.kills.broken import Broken
from trust.kills.cases import CASES, Case
from trust.moments import Watch
from trust.rows import Row, Setting


def rows(setting: Setting) -> Iterator[Row]:
    """Kills at random moments of each kind of work, starts again, and compares with an unbroken run."""
    chance, cache = Random(setting.seed), setting.work / "cache"
    ended(places.make(setting.work / "first", cache), "train", "estimator")  # fills the cache for all others
    unbroken: dict[tuple[object, ...], tuple[Path, float]] = {}
    for number, case in enumerate(CASES):
        if case.reference not in unbroken:
            unbroken[case.reference] = _unbroken(case, setting.work / f"unbroken-{number}", cache)
        whole, duration = unbroken[case.reference]
        drawn = moments.draw(
            chance, setting.times(case.times), whole.parent / f"{whole.name}.log", case.wanted, duration
        )
        faults, hits = [], 0
        for index, moment in enumerate(drawn):
            folder = case.make(setting.work / f"{number}-{index}", cache)
            broken = Broken(case, folder, whole)
            found = list(broken.judged(moment))
            hits += broken.was_killed
            faults += [f"{moment}: {fault}" for fault in found]
            if not found:
                shutil.rmtree(folder)
        yield Row(case.label, len(drawn), tuple(faults), f"{hits} were killed, {len(drawn) - hits} ended before")


def _unbroken(case: Case, folder: Path, cache: Path) -> tuple[Path, float]:
    """Runs the command to its end; returns the folder and how many seconds it took."""
    case.make(folder, cache)
    began = time.monotonic()
    ended(folder, *case.words, before=Watch(folder, folder.with_name(f"{folder.name}.log")))
    return folder, time.monotonic() - began
