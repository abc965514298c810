"""Protocols: one file each, that says which clips train, which choose, and which are tested. Always three sides.

Test clips choose nothing: no epoch, threshold, normaliser or learning rate. A clip and its duplicates by audio content
stand on one side, whatever the protocol.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from emotion_lightning.corpora import Clip

SIDES = ("train", "val", "test")
Seed = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Split:
    """Indices into the list of clips, ascending, int64."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]

    def side(self, name: str) -> NDArray[np.int64]:
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    @classmethod
    def of(cls, count: int, val: NDArray[np.int64], test: NDArray[np.int64]) -> "Split":
        """All clips that neither choose nor are tested train."""
        rest = np.setdiff1d(np.arange(count), np.concatenate([val, test]))
        return cls(rest, np.sort(val), np.sort(test))


def linked(clips: Sequence[Clip], by: Sequence[Callable[[Clip], Hashable]]) -> NDArray[np.int64]:
    """(clips,) group numbers: clips that share any of the keys, at one remove or many, are of one group.

    A key of "" links nothing.
    """
    parent = list(range(len(clips)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for key in by:
        first: dict[Hashable, int] = {}
        for i, clip in enumerate(clips):
            if (value := key(clip)) != "":
                parent[root(i)] = root(first.setdefault(value, i))
    return np.unique([root(i) for i in range(len(clips))], return_inverse=True)[1].astype(np.int64)
