"""Files and folders that are complete or missing, whenever a process is killed, and the threads that fill folders.

A folder is written next to its final path, under a lock, and moved there in one step. So it is complete or missing, however
many processes ask for it and whenever one of them is killed.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

from emotion_lightning.errors import UserError, cannot_write_cache

Track = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""(items, title, count) → the same items, with a progress bar on a terminal."""


def parallel(
    function: Callable[[Any], Any], items: Sequence[Any], ahead: int = 2048, together: int = 16
) -> Iterator[Any]:
    """Yields `function(item)` for each item in order, computed on one thread for each core.

    Threads, not processes: each process would import torch, which costs memory and seconds. The decoder, the resampler
    and torch release Python's lock. A thread takes `together` items at a time. At most `ahead` results wait for the caller.
    Meanwhile torch uses one core in each thread.
    """

    def several(first: int) -> list[Any]:
        return [function(item) for item in items[first : first + together]]

    before, workers = torch.get_num_threads(), len(os.sched_getaffinity(0))
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers) as pool:
            for block in range(0, len(items), ahead):
                for results in pool.map(several, range(block, min(block + ahead, len(items)), together)):
                    yield from results
    finally:
        torch.set_num_threads(before)


def build_once(folder: Path, write: Callable[[Path], None]) -> Path:
    """Returns `folder`, which is in the cache; if it is missing, `write` fills it first.

    Raises: UserError if it cannot be written.
    """
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{folder.name}.lock")):
            if not folder.is_dir():
                part = folder.with_name(f".{folder.name}.part")
                shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
                part.mkdir()
                write(part)
                part.replace(folder)
    except OSError as error:
        raise UserError(cannot_write_cache(folder.parent, error)) from error
    return folder


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yields a path beside `file`; what was written there replaces `file` in one step, so that `file` is always whole.

    One process at a time: the path is the same for all, so that a killed one leaves no more than one such file.
    """
    part = file.with_name(f".part-{file.name}")  # with the same suffix, by which matplotlib chooses the format
    try:
        yield part
        with part.open("rb+") as written:
            os.fsync(written.fileno())  # else a power failure could leave the new name with old or no content
        part.replace(file)
    except BaseException:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_files_of(folder: Path) -> Iterator[Path]:
    """Yields an empty folder beside `folder`. Its files are moved there at the end; if the block fails, `folder` is as before.

    One process at a time, as in `replacing`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f".part-{folder.name}")
    shutil.rmtree(part, ignore_errors=True)  # a killed process has left it
    part.mkdir()
    try:
        yield part
        for file in part.iterdir():
            file.replace(folder / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def digest(*values: Any) -> str:
    """Returns 16 hex digits that identify these values, which must be valid in JSON."""
    return hashlib.blake2b(json.dumps(values).encode(), digest_size=8).hexdigest()


def source_digest(path: Path) -> str:
    """Returns 16 hex digits that identify the content of a file."""
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
