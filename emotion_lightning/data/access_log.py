"""Counts which clips were read for which purpose; the audit uses it to prove that the test split stayed unread."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray


class AccessLog:
    """The indices of the clips that were read, by purpose. The purpose is "fit" outside a `with log.purpose(name)`."""

    def __init__(self) -> None:
        self._read: dict[str, set[int]] = {}
        self._purpose = "fit"

    @contextmanager
    def purpose(self, name: str) -> Iterator[None]:
        """Records all reads within the `with` block under this purpose."""
        outer, self._purpose = self._purpose, name
        try:
            yield
        finally:
            self._purpose = outer

    def record(self, index: NDArray[np.int64]) -> None:
        """Records that these clips (N,) were read."""
        self._read.setdefault(self._purpose, set()).update(index.tolist())

    def count(self, purpose: str | None, index: NDArray[np.int64]) -> int:
        """Returns how many of these clips (N,) were read for a purpose; None counts the reads for any purpose."""
        read = self._read.get(purpose, set()) if purpose else set[int]().union(*self._read.values())
        return len(read.intersection(index.tolist()))
