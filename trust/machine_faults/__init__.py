"""Faults of the machine under our commands: a full disk, a read-only folder, a lost server, a locked database, a clock that
jumps, too little memory.

The faults are real: a small disk is mounted, SQLite's lock is taken by another program, MLflow's server is killed, the kernel
limits the memory. Only the clock is a patched `time.time`, because a machine has one clock for all. Each command must end
with one line on stderr and status 2. Then the fault is taken away, and the same command, or the one that the line names, must
end with the figures of an undisturbed run.
"""

import ctypes
import os
import random
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch

from emotion_lightning.tracking import store
from trust.commands import Command, Ended, figures, run, runs, servers, sound, workplace
from trust.disks import Disk, Unavailable, disk
from trust.rows import Row, Setting

NETWORK_KB, CACHE_KB = 4500, 13_500
"""What a run and a cache write, about; a disk with less free space is full before they have ended."""


class Place:
    """Where the suite works: a cache that all folders share, and the figures of undisturbed runs."""

    def __init__(self, folder: Path):
        self.folder, self.cache, self.count = folder, folder / "cache", 0
        whole = workplace(folder / "undisturbed")
        for name in ("net", "vectors"):
            assert self.train(whole, name).status == 0
        self.figures = {r.data.tags["experiment"]: figures(r) for r in runs(whole)}

    def new(self) -> Path:
        """Returns the path of a folder that is not there yet."""
        self.count += 1
        return self.folder / f"case-{self.count}"

    def train(self, folder: Path, name: str, *words: str, before: Callable[[], None] | None = None) -> Ended:
        return run(folder, "train", name, "--cache", str(self.cache), *words, before=before)

    def again(self, folder: Path, name: str, said: Ended) -> Iterator[str]:
        """Does what the line on stderr advises, or gives the same command again. Yields what is wrong in the end."""
        resumed = re.search(r"RESUME=(\w+)", said.err)
        ended = self.train(folder, name, *(["--resume", resumed[1]] if resumed else []))
        yield from self.wrong(folder, name, ended)

    def wrong(self, folder: Path, name: str, ended: Ended) -> Iterator[str]:
        """Yields what is wrong after a command that could do its work."""
        done = [r for r in runs(folder) if r.info.status == "FINISHED"]
        if ended.status:
            yield f"then: {ended.fault()}"
        elif len(done) != 1 or figures(done[0]) != self.figures[name]:
            yield f"then: {len(done)} finished runs, or other figures than undisturbed"


def rows(setting: Setting) -> Iterator[Row]:
    place = Place(setting.work)
    for name, part in PARTS.items():
        try:
            yield from part(place, setting)
        except Unavailable as reason:
            yield Row(name.replace("_", " "), 0, (), f"skipped: {reason}")


# A full disk


def _full_runs(place: Place, setting: Setting) -> Iterator[Row]:
    faults, count, chance = [], setting.times(24), random.Random(setting.seed)
    for _ in range(count):
        free = chance.randrange(NETWORK_KB)
        with disk(place.new()) as small:
            faults += [f"{free} KB free: {fault}" for fault in _full_run(place, small, free)]
    yield Row("full disk under training, logging, model package", count, tuple(faults))


def _full_caches(place: Place, setting: Setting) -> Iterator[Row]:
    faults, count, chance = [], setting.times(10), random.Random(setting.seed)
    for _ in range(count):
        free = chance.randrange(CACHE_KB)
        with disk(place.new()) as small:
            faults += [f"{free} KB free: {fault}" for fault in _full_cache(place, small, free)]
    yield Row("full disk under the corpus and the cache", count, tuple(faults))


def _full_outputs(place: Place, setting: Setting) -> Iterator[Row]:
    chance = random.Random(setting.seed)
    with disk(place.new()) as small:
        folder = _finished_study(place, small)
        for label, most, command, kept in OUTPUTS:
            faults, count = [], setting.times(6)
            words = tuple(_filled(word, place, folder) for word in command)
            for number in range(count):
                free = chance.randrange(most)
                found = _full_output(small, folder, words, kept, free, number)
                faults += [f"{free} KB free: {fault}" for fault in found]
            yield Row(f"full disk under {label}", count, tuple(faults))


OUTPUTS = (
    ("a report", 1000, ("report", "pair"), "reports"),
    ("the answers of a model", 40, ("predict", "{clips}", "--run", "{run}", "--out", "answers/all.csv"), "answers"),
    ("an ONNX file", 100, ("export", "--run", "{run}", "--out", "exported", "--audio", "{clips}"), "exported"),
    ("a search", 1200, ("tune", "vectors", "--trials", "2", "--inner", "2", "--cache", "{cache}"), "experiments"),
)
"""What is written, about how many KB it takes, the command, and the folder in which nothing may be left half."""


def _full_run(place: Place, small: Disk, free: int) -> Iterator[str]:
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
    yield from _half_checkpoints(folder)
    yield from place.again(folder, "net", ended)


def _half_checkpoints(folder: Path) -> Iterator[str]:
    for file in (folder / "mlruns" / "checkpoints").glob("*/*.ckpt"):
        try:
            torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever torch makes of half a file
            yield f"{file.name} cannot be read ({type(error).__name__})"


def _full_cache(place: Place, small: Disk, free: int) -> Iterator[str]:
    folder = workplace(place.new())
    small.leave_free(free)
    ended = run(folder, "train", "net", "--cache", str(small.folder / "cache"))
    small.leave_free(100_000)
    if ended.status and (fault := ended.fault()):
        yield fault
    if ended.status:
        ended = run(folder, "train", "net", "--cache", str(small.folder / "cache"))
    yield from place.wrong(folder, "net", ended)


def _finished_study(place: Place, small: Disk) -> Path:
    """Returns a folder on the disk in which the study has been run."""
    folder = workplace(small.folder / "work")
    assert run(folder, "study", "pair", "--cache", str(place.cache)).status == 0
    return folder


def _filled(word: str, place: Place, folder: Path) -> str:
    clips = next(place.cache.glob("demo-*/savee"))
    found = [r.info.run_id for r in runs(folder) if r.data.tags.get("experiment") == "vectors"]
    return word.format(clips=clips, cache=place.cache, run=found[0])


def _full_output(
    small: Disk, folder: Path, words: tuple[str, ...], kept: str, free: int, number: int
) -> Iterator[str]:
    """A command that writes into the folder `kept`: each file that was there must be the old or the new one, and whole."""
    small.leave_free(100_000)
    if kept != "experiments":
        shutil.rmtree(folder / kept, ignore_errors=True)
    searches = [
        [f"seed={2 * number + i}"] if words[0] == "tune" else [] for i in (0, 1)
    ]  # the same one would have ended
    whole = run(folder, *words, *searches[0])
    if whole.status:
        yield f"with enough space: {whole.fault()}"
    before = _contents(folder / kept)
    small.leave_free(free)
    ended = run(folder, *words, *searches[1])
    small.leave_free(100_000)
    after = _contents(folder / kept)
    if ended.status and (fault := ended.fault()):
        yield fault
    if ended.status and words[0] != "export" and after != before:
        changed = [n for n in {*before, *after} if before.get(n) != after.get(n)]
        yield f"files were changed, or left half: {', '.join(changed[:4])}"
    if words[0] == "export" and ended.status and (folder / kept / "export.json").exists():
        yield "an export that failed has left its export.json"
    if (then := run(folder, *words, *searches[1])).status:
        yield f"then: {then.fault()}"


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


# A read-only folder


def _read_only(place: Place, setting: Setting) -> Iterator[Row]:
    with disk(place.new()) as small:
        folder = _finished_study(place, small)
        commands = [
            ("train", "net", "--cache", str(place.cache)),
            ("train", "net", "--cache", str(small.folder / "cache")),
            ("study", "pair", "--cache", str(place.cache), "seed=1"),
            ("report", "pair"),
            ("tune", "vectors", "--trials", "2", "--inner", "2", "--cache", str(place.cache)),
            ("predict", str(next(place.cache.glob("demo-*/savee"))), "--run", "{run}", "--out", "answers.csv"),
            ("export", "--run", "{run}", "--out", "exported"),
            ("prune", "--older", "0d", "--all", "--yes"),
        ]
        commands = [tuple(_filled(word, place, folder) for word in words) for words in commands]
        before = _contents(folder)
        small.make_read_only()
        faults = [f"{words[0]}: {fault}" for words in commands if (fault := run(folder, *words).fault())]
        if _contents(folder) != before:
            faults.append("something was changed")
        small.leave_free(100_000)
        if (then := place.train(folder, "net")).status:
            faults.append(f"then: {then.fault()}")
    yield Row("read-only folder under 8 commands", len(commands), tuple(faults))


# A locked database


@contextmanager
def _lock(database: Path) -> Iterator[None]:
    """Holds SQLite's lock for writing while the block runs."""
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.rollback()


def _locked_database(place: Place, setting: Setting) -> Iterator[Row]:
    chance = random.Random(setting.seed)
    faults, count = [], setting.times(6, least=2)
    for number in range(count):
        folder, for_good = workplace(place.new()), number % 2 == 0
        command = Command(folder, "train", "net", "--cache", str(place.cache))
        time.sleep(chance.uniform(0, 3))
        with _lock(folder / "mlruns" / "mlflow.db"):
            if for_good:
                ended = command.ended()
            else:
                time.sleep(chance.uniform(0.1, 3))
        if not for_good:
            faults += list(place.wrong(folder, "net", command.ended()))
        elif ended.status:
            faults += [fault for fault in [ended.fault()] if fault] + list(place.again(folder, "net", ended))
    yield Row("locked database, for a moment and for good", count, tuple(faults))


# Too little memory


def limit_memory(megabytes: int) -> None:
    """Lets this process take so much more memory than it has."""
    limit = psutil.Process().memory_info().vms + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _memory(place: Place, setting: Setting) -> Iterator[Row]:
    chance = random.Random(setting.seed)
    faults, refused, count = [], 0, setting.times(12, least=2)
    for _ in range(count):
        megabytes, folder = chance.randrange(60, 700), workplace(place.new())
        big = ["features.frames=400", "model.width=256", "data.batch_size=64", "fit.stages.main.epochs=1"]
        ended = place.train(folder, "net", *big, before=partial(limit_memory, megabytes))
        refused += ended.status != 0
        if ended.status and (fault := ended.fault()):
            faults.append(f"{megabytes} MB: {fault}")
        faults += [f"{megabytes} MB: {fault}" for fault in place.again(folder, "net", Ended(0, "", ""))]
    yield Row("out of memory, processor", count, tuple(faults), f"{refused} of them had too little")


# A clock that jumps


def jump(after: float, seconds: float) -> None:
    """Sets this process's clock by so many seconds when `after` seconds have passed."""
    real, begun = time.time, time.monotonic()
    time.time = lambda: real() + seconds * (time.monotonic() - begun > after)


def _clock(place: Place, setting: Setting) -> Iterator[Row]:
    chance = random.Random(setting.seed)
    faults, jumps = [], [-3600, 3600, -365 * 86_400, 10 * 365 * 86_400]
    count = setting.times(8, least=2)
    for number in range(count):
        folder, seconds = workplace(place.new()), jumps[number % len(jumps)]
        ended = place.train(folder, "net", before=partial(jump, chance.uniform(0, 4), seconds))
        faults += [f"{seconds} s: {fault}" for fault in place.wrong(folder, "net", ended)]
        for words in (("prune", "--older", "1h"), ("experiments",)):
            if (other := run(folder, *words)).status:
                faults.append(f"{seconds} s: {words[0]}: {other.fault()}")
    yield Row("clock jumps during a run, by an hour to ten years", count, tuple(faults))


def shift_boot_time(seconds: int) -> None:
    """Shows this process the time of the boot as Linux does after the clock was set by so many seconds."""
    ctypes.CDLL(None).unshare(0x20000)  # CLONE_NEWNS: the mount below is for this process alone
    subprocess.run(["mount", "--make-rprivate", "/"], check=True, capture_output=True)
    stat = Path("/proc/stat").read_text()
    shifted = re.sub(r"btime (\d+)", lambda found: f"btime {int(found[1]) + seconds}", stat)
    file = Path(f"/tmp/trust-stat-{os.getpid()}")
    file.write_text(shifted)
    subprocess.run(["mount", "--bind", str(file), "/proc/stat"], check=True, capture_output=True)
    file.unlink()


def _boot_time(place: Place, setting: Setting) -> Iterator[Row]:
    """A run is under way, the clock is set, and another command looks for dead runs: it must leave that run alone."""
    label = "clock set while another command looks for dead runs"
    if os.geteuid():
        raise Unavailable("this user may not mount")
    folder, faults = workplace(place.new()), []
    first = Command(folder, "train", "net", "--cache", str(place.cache), "fit.stages.main.epochs=400")
    while first.alive() and not list((folder / "mlruns" / "checkpoints").glob("*/last.ckpt")):
        time.sleep(0.05)
    other = run(folder, "train", "vectors", "--cache", str(place.cache), before=partial(shift_boot_time, 3600))
    statuses = {r.data.tags["experiment"]: r.info.status for r in runs(folder)}
    if other.status or statuses != {"net": "RUNNING", "vectors": "FINISHED"}:
        faults.append(f"{statuses}; {other.err[-300:]}")
    os.kill(first.pid, signal.SIGTERM)
    first.ended()
    yield Row(label, 1, tuple(faults))


# A server that is lost


def _lost_server(place: Place, setting: Setting) -> Iterator[Row]:
    chance = random.Random(setting.seed)
    faults, count = [], setting.times(4)
    at_server = place.new()
    at_server.mkdir()
    server = servers().Server(f"sqlite:///{at_server / 'mlflow.db'}", at_server)
    server.start()
    try:
        for number in range(count):
            folder, late, away = workplace(place.new()), chance.uniform(0, 6), chance.uniform(0.5, 8)
            words = ("train", "net", "--cache", str(place.cache), "fit.stages.main.epochs=3")
            command = Command(folder, *words, MLFLOW_TRACKING_URI=server.uri)
            time.sleep(late)
            server.stop()
            time.sleep(away)
            server.start()
            ended = command.ended()
            title = f"case {number}, lost after {late:.1f} s for {away:.1f} s: "
            faults += [title + fault for fault in _at_server(place, folder, words, server, ended)]
    finally:
        server.stop()
    yield Row("MLflow's server killed during a run, and started again", count, tuple(faults))


def _at_server(place: Place, folder: Path, words: tuple[str, ...], server: Any, ended: Ended) -> Iterator[str]:
    """Yields what is wrong at the server once it is back; gives a refused command again."""
    if ended.status:
        if fault := ended.fault():
            yield fault
        ended = run(folder, *words, MLFLOW_TRACKING_URI=server.uri)
    client = server.client()
    found = list(store.runs(client))
    done = [r for r in found if r.info.status == "FINISHED"]
    if ended.status:
        yield f"then: {ended.fault()}"
    elif len(done) != 1 or figures(done[0]) != place.figures["net"]:
        yield f"{len(done)} finished runs at the server, or other figures"
    if list((folder / "mlruns" / "outbox").glob("[!.]*")):
        yield "something is still in the outbox"
    for r in found:
        client.delete_run(r.info.run_id)


PARTS = {
    "full_runs": _full_runs,
    "full_caches": _full_caches,
    "full_outputs": _full_outputs,
    "read_only": _read_only,
    "locked_database": _locked_database,
    "memory": _memory,
    "clock": _clock,
    "boot_time": _boot_time,
    "lost_server": _lost_server,
}
