"""Folders on disk that are made once: built beside their place under a lock and moved there in one step, so a folder is
whole or not there, however many processes ask and whenever one is killed. And the threads that fill them."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

Track = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""(items, what is done, how many) → the same items, with a progress bar where there is a terminal."""


def parallel(function: Callable[[Any], Any], items: Sequence[Any], ahead: int = 2048) -> Iterator[Any]:
    """`function` of each item in order, on a thread a core: decoder, resampler and torch all let go of Python's lock.

    Threads, since processes would each import torch: more memory and seconds of start. They take 16 items at a time,
    and `ahead` before the writer has all of these, so few results wait. torch stays on one core a thread meanwhile.
    """

    def several(first: int) -> list[Any]:
        return [function(item) for item in items[first : first + 16]]

    before, workers = torch.get_num_threads(), len(os.sched_getaffinity(0))
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers) as pool:
            for block in range(0, len(items), ahead):
                for results in pool.map(several, range(block, min(block + ahead, len(items)), 16)):
                    yield from results
    finally:
        torch.set_num_threads(before)


def build(place: Path, write: Callable[[Path], None]) -> Path:
    """`place`, filled by `write` if it is not there yet."""
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name(f".{place.name}.lock")):
        if not place.is_dir():
            part = place.with_name(f".{place.name}.part")
            shutil.rmtree(part, ignore_errors=True)  # left by one that was killed
            part.mkdir()
            write(part)
            part.replace(place)
    return place


def digest(*things: Any) -> str:
    return hashlib.blake2b(json.dumps(things).encode(), digest_size=8).hexdigest()


def source_digest(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()
