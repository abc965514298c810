"""Small disks for tests: a tmpfs of a few megabytes, which can be filled up, made larger and made read-only."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Unavailable(Exception):
    """Raised where this machine cannot be made to have a fault; the message says why."""


class Disk:
    """A mounted tmpfs."""

    def __init__(self, folder: Path):
        self.folder = folder

    def leave_free(self, kilobytes: int) -> None:
        """Sets the size so that this much is free."""
        used = shutil.disk_usage(self.folder).used
        self._remount(f"rw,size={max(used // 1024 + kilobytes, 4)}k")

    def make_read_only(self) -> None:
        """Refuses every write, as Linux does with a disk that has errors."""
        self._remount("ro")

    def _remount(self, options: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], check=True, capture_output=True)


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """Mounts an empty tmpfs of 256 MB on a new folder while the block runs.

    Raises: Unavailable where this process may not mount.
    """
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        raise Unavailable("this user may not mount a small disk")
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()
