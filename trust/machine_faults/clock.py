"""A clock that jumps, in the command's own process and between two commands."""

import ctypes
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from trust.commands import Command, run, runs, workplace
from trust.disks import Unavailable
from trust.machine_faults.place import Place
from trust.rows import Row, Setting


def jump(after: float, seconds: float) -> None:
    """Sets this process's clock by so many seconds when `after` seconds have passed."""
    real, begun = time.time, time.monotonic()
    time.time = lambda: real() + seconds * (time.monotonic() - begun > after)


def under_runs(place: Place, setting: Setting) -> Iterator[Row]:
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


def under_a_run_and_another_command(place: Place, setting: Setting) -> Iterator[Row]:
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
