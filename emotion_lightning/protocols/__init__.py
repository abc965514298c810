"""Protocols: one file each, that says which clips train, which choose, and which are tested. Always three sides.

Test clips choose nothing: no epoch, threshold, normaliser or learning rate. A clip and its duplicates by audio content
stand on one side, whatever the protocol. A split may leave clips out: they are on no side.

A protocol's module says what its test side shares with no other side: `DISJOINT`, a tuple of fields of Clip ("speaker").
No value of such a field stands on the test side and on another one; empty values do not count, a sentence is meant
within its corpus, and of training and validation side nothing is said. Without the constant nothing is promised.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from emotion_lightning.config import parts
from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError, nearest

SPLITS = ("train", "val", "test")
Seed = Annotated[int, Field(ge=0)]


@dataclass(frozen=True)
class Split:
    """Indices into the list of clips, ascending, int64."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]

    def indices(self, name: str) -> NDArray[np.int64]:
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    @classmethod
    def of(cls, count: int, val: NDArray[np.int64], test: NDArray[np.int64]) -> "Split":
        """All clips that neither choose nor are tested train."""
        rest = np.setdiff1d(np.arange(count), np.concatenate([val, test]))
        return cls(rest, np.sort(val), np.sort(test))


def make_split(clips: Sequence[Clip], name: str, args: Mapping[str, Any]) -> Split:
    """The protocol's split of the clips, one a row. It shares out the clips as recorded; what was made of a training clip trains
    with it, of another it is on no side. Only a protocol that SPLITS_ROWS gets all rows."""
    split: Callable[..., Split] = parts.entry("protocols", name)
    if parts.fact("protocols", name, "SPLITS_ROWS", False):
        made = split(clips, **args)
    else:
        recorded = np.flatnonzero([not clip.variant for clip in clips])
        of = np.cumsum([not clip.variant for clip in clips]) - 1  # (rows,) which recorded clip each was made of
        found = split([clips[i] for i in recorded.tolist()], **args)
        made = Split(np.flatnonzero(np.isin(of, found.train)), recorded[found.val], recorded[found.test])
    for side in SPLITS:
        if len(made.indices(side)) == 0:
            raise UserError(f"protocol {name} leaves no clip on the {side} side ({len(clips)} clips in all)")
    return made


def promises(name: str) -> tuple[str, ...]:
    """The fields of Clip that a protocol keeps off every side but the test side; see `DISJOINT` above."""
    known, stated = [field.name for field in fields(Clip)], parts.fact("protocols", name, "DISJOINT", ())
    if isinstance(stated, str):
        raise UserError(f"protocol {name}: DISJOINT is a tuple, ({stated!r},)")
    for field in stated:
        if field not in known:
            raise UserError(f"protocol {name}: DISJOINT: a clip has no '{field}'{nearest(field, known)}")
    return tuple(stated)


def leaks(name: str) -> bool:
    """Whether a protocol puts copies of a clip on both sides, on purpose (`LEAKS = True`): what comes of it is marked LEAKY."""
    return bool(parts.fact("protocols", name, "LEAKS", False))


def in_order(clips: Sequence[Clip], corpora: Sequence[str] | None = None) -> NDArray[np.int64]:
    """(clips,) indices that sort the clips by corpus, speaker and id, so that no draw goes by the order of files.

    `corpora` is the order of corpora; by their names without it.
    """
    rank = {name: place for place, name in enumerate(corpora or sorted({clip.corpus for clip in clips}))}
    keys = [(rank[clip.corpus], clip.speaker, clip.id) for clip in clips]
    return np.array(sorted(range(len(clips)), key=keys.__getitem__), dtype=np.int64)


def as_given(clips: Sequence[Clip]) -> list[str]:
    """The corpora in the order of the experiment's settings, which is part of its signature."""
    return list(dict.fromkeys(clip.corpus for clip in clips))


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
