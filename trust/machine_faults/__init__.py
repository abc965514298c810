"""Faults of the machine under our commands: a full disk, a read-only folder, a lost server, a locked database, a clock that
jumps, too little memory.

The faults are real: a small disk is mounted, SQLite's lock is taken by another program, MLflow's server is killed, the kernel
limits the memory. Only the clock is a patched `time.time`, because a machine has one clock for all. Each command must end
with one line on stderr and status 2. Then the fault is taken away, and the same command, or the one that the line names, must
end with the figures of an undisturbed run.
"""

from collections.abc import Callable, Iterator

from trust.disks import Unavailable
from trust.machine_faults import clock, full_disk, locked_database, lost_server, memory, read_only
from trust.machine_faults.place import Place
from trust.rows import Row, Setting

Part = Callable[[Place, Setting], Iterator[Row]]

PARTS: dict[str, Part] = {
    "full_runs": full_disk.under_runs,
    "full_caches": full_disk.under_caches,
    "full_outputs": full_disk.under_outputs,
    "read_only": read_only.under_commands,
    "locked_database": locked_database.under_runs,
    "memory": memory.under_runs,
    "clock": clock.under_runs,
    "boot_time": clock.under_a_run_and_another_command,
    "lost_server": lost_server.under_runs,
}


def rows(setting: Setting) -> Iterator[Row]:
    place = Place(setting.work)
    for name, part in PARTS.items():
        try:
            yield from part(place, setting)
        except Unavailable as reason:
            yield Row(name.replace("_", " "), 0, (), f"skipped: {reason}")
