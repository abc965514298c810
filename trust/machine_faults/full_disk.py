"""A disk that becomes full at a random byte."""

import random
import shutil
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from trust.commands import run, sound, workplace
from trust.disks import Disk, disk
from trust.machine_faults.place import Place, contents
from trust.places import half_checkpoints
from trust.rows import Row, Setting

NETWORK_KB, CACHE_KB = 4500, 13_500
"""What a run and a cache write, about; a disk with less free space is full before they have ended."""

OUTPUTS = (
    ("a report", 1000, ("report", "pair"), "reports"),
    ("the answers of a model", 40, ("predict", "{clips}", "--run", "{run}", "--out", "answers/all.csv"), "answers"),
    ("an ONNX file", 100, ("export", "--run", "{run}", "--out", "exported", "--audio", "{clips}"), "exported"),
    ("a search", 1200, ("tune", "vectors", "--trials", "2", "--inner", "2", "--cache", "{cache}"), "experiments"),
)
"""What is written, about how many KB it takes, the command, and the folder in which nothing may be left half."""


def under_runs(place: Place, setting: Setting) -> Iterator[Row]:
    attempt = partial(_on_a_new_disk, place, _run)
    label = "full disk under training, logging, model package"
    yield _row(label, setting.times(24), NETWORK_KB, random.Random(setting.seed), attempt)


def under_caches(place: Place, setting: Setting) -> Iterator[Row]:
    attempt = partial(_on_a_new_disk, place, _cache)
    label = "full disk under the corpus and the cache"
    yield _row(label, setting.times(10), CACHE_KB, random.Random(setting.seed), attempt)


def under_outputs(place: Place, setting: Setting) -> Iterator[Row]:
    chance = random.Random(setting.seed)
    with disk(place.new()) as small:
        folder = place.finished_study(small)
        for label, most, command, kept in OUTPUTS:
            attempt = partial(_output, small, folder, place.filled(command, folder), kept)
            yield _row(f"full disk under {label}", setting.times(6), most, chance, attempt)


def _row(
    label: str, count: int, most: int, chance: random.Random, attempt: Callable[[int, int], Iterable[str]]
) -> Row:
    """Makes the attempts 0, 1, …, each on a disk with less than `most` KB of free space."""
    faults = []
    for number in range(count):
        free = chance.randrange(most)
        faults += [f"{free} KB free: {fault}" for fault in attempt(free, number)]
    return Row(label, count, tuple(faults))


def _on_a_new_disk(
    place: Place, attempt: Callable[[Place, Disk, int], Iterator[str]], free: int, number: int
) -> Iterator[str]:
    with disk(place.new()) as small:
        yield from attempt(place, small, free)


def _run(place: Place, small: Disk, free: int) -> Iterator[str]:
    folder = workplace(small.folder / "work")
    small.leave_free(free)
    ended = place.train(folder, "net")
    small.leave_free(100_000)
    if ended.status == 0:
        yield from place.wrong(folder, "net", ended)
        return
    if fault := ended.fault():
        yield fault
    if not sound(folder / "mlruns" / "mlflow.db"):
        yield "the database is damaged"
    yield from half_checkpoints(folder)
    yield from place.again(folder, "net", ended)


def _cache(place: Place, small: Disk, free: int) -> Iterator[str]:
    folder = workplace(place.new())
    small.leave_free(free)
    ended = run(folder, "train", "net", "--cache", str(small.folder / "cache"))
    small.leave_free(100_000)
    if ended.status and (fault := ended.fault()):
        yield fault
    if ended.status:
        ended = run(folder, "train", "net", "--cache", str(small.folder / "cache"))
    yield from place.wrong(folder, "net", ended)


def _output(small: Disk, folder: Path, words: tuple[str, ...], kept: str, free: int, number: int) -> Iterator[str]:
    """A command that writes into the folder `kept`: each file that was there must be the old or the new one, and whole."""
    small.leave_free(100_000)
    if kept != "experiments":
        shutil.rmtree(folder / kept, ignore_errors=True)
    # a search that has ended would not be made again, so each has a seed of its own
    first, second = ([f"seed={2 * number + i}"] if words[0] == "tune" else [] for i in (0, 1))
    whole = run(folder, *words, *first)
    if whole.status:
        yield f"with enough space: {whole.fault()}"
    before = contents(folder / kept)
    small.leave_free(free)
    ended = run(folder, *words, *second)
    small.leave_free(100_000)
    after = contents(folder / kept)
    if ended.status and (fault := ended.fault()):
        yield fault
    if ended.status and words[0] != "export" and after != before:
        changed = [n for n in {*before, *after} if before.get(n) != after.get(n)]
        yield f"files were changed, or left half: {', '.join(changed[:4])}"
    if words[0] == "export" and ended.status and (folder / kept / "export.json").exists():
        yield "an export that failed has left its export.json"
    if (then := run(folder, *words, *second)).status:
        yield f"then: {then.fault()}"
