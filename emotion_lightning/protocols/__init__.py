"""Protocols: one file each. A protocol divides the clips into the splits train, val (validation) and test.

Test clips choose nothing: no epoch, threshold, normaliser or learning rate. A clip and its duplicates by audio content are
in one split, whatever the protocol. A protocol may leave clips out; they are in no split.

A protocol's module declares what its test split shares with no other split: `DISJOINT`, a tuple of fields of Clip, such as
("speaker",). No value of such a field occurs in the test split and in another one. Empty values do not count. A sentence
counts within its corpus only. Nothing is declared about training and validation. Without the constant, nothing is promised.
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
Seed = Annotated[int, Field(ge=0, lt=2**32)]


@dataclass(frozen=True)
class Split:
    """Indices into the list of clips, ascending, int64; each array (clips of the split,)."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]

    def indices(self, name: str) -> NDArray[np.int64]:
        """Returns the clips of the split of this name, one of SPLITS."""
        return {"train": self.train, "val": self.val, "test": self.test}[name]

    @classmethod
    def from_held_out(cls, count: int, val: NDArray[np.int64], test: NDArray[np.int64]) -> "Split":
        """Makes a split of `count` clips: all that are neither in `val` nor in `test` are for training."""
        rest = np.setdiff1d(np.arange(count), np.concatenate([val, test]))
        return cls(rest, np.sort(val), np.sort(test))


def make_split(clips: Sequence[Clip], name: str, args: Mapping[str, Any]) -> Split:
    """Returns the protocol's split of the clips, which include variants of clips (one clip for each row).

    The protocol gets the clips as recorded. Variants of a training clip are for training; variants of other clips are in no
    split. Only a protocol with SPLITS_ROWS gets all rows.

    Raises: UserError for an empty split, and for whatever the protocol refuses.
    """
    protocol: Callable[..., Split] = parts.entry("protocols", name)
    if parts.fact("protocols", name, "SPLITS_ROWS", False):
        split = protocol(clips, **args)
    else:
        is_recorded = [not clip.variant for clip in clips]
        recorded = np.flatnonzero(is_recorded)
        source = np.cumsum(is_recorded) - 1  # (rows,) the recorded clip that each row was made of
        by_clip = protocol([clips[i] for i in recorded.tolist()], **args)
        training_rows = np.flatnonzero(np.isin(source, by_clip.train))
        split = Split(training_rows, recorded[by_clip.val], recorded[by_clip.test])
    for split_name in SPLITS:
        if len(split.indices(split_name)) == 0:
            raise UserError(f"protocol {name} leaves no clip for the {split_name} split ({len(clips)} clips in all)")
    return split


def promises(name: str) -> tuple[str, ...]:
    """Returns the fields of Clip whose values in the test split occur in no other split: `DISJOINT`, see above.

    Raises: UserError where `DISJOINT` is no tuple of fields of Clip.
    """
    known, stated = [field.name for field in fields(Clip)], parts.fact("protocols", name, "DISJOINT", ())
    if isinstance(stated, str):
        raise UserError(f"protocol {name}: DISJOINT is a tuple, ({stated!r},)")
    for field in stated:
        if field not in known:
            raise UserError(f"protocol {name}: DISJOINT: a clip has no '{field}'{nearest(field, known)}")
    return tuple(stated)


def leaks(name: str) -> bool:
    """Returns whether a protocol puts variants of a clip into two splits on purpose (`LEAKS`). Its results are marked LEAKY."""
    return bool(parts.fact("protocols", name, "LEAKS", False))


def sorted_indices(clips: Sequence[Clip], corpora: Sequence[str] | None = None) -> NDArray[np.int64]:
    """Returns the indices (clips,) that sort the clips by corpus, speaker and id, so that no draw depends on file order.

    `corpora` is the order of corpora; without it, they are sorted by name.
    """
    rank = {name: number for number, name in enumerate(corpora or sorted({clip.corpus for clip in clips}))}
    keys = [(rank[clip.corpus], clip.speaker, clip.id) for clip in clips]
    return np.array(sorted(range(len(clips)), key=keys.__getitem__), dtype=np.int64)


def corpora_in_order(clips: Sequence[Clip]) -> list[str]:
    """Returns the corpora in the order of the experiment's settings, which is part of its signature."""
    return list(dict.fromkeys(clip.corpus for clip in clips))


def group_ids(clips: Sequence[Clip], keys: Sequence[Callable[[Clip], Hashable]]) -> NDArray[np.int64]:
    """Returns group numbers (clips,): clips with an equal key are in one group, also by way of other clips.

    A key of "" puts no clips together.
    """
    parent = list(range(len(clips)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for key in keys:
        first: dict[Hashable, int] = {}
        for i, clip in enumerate(clips):
            if (value := key(clip)) != "":
                parent[root(i)] = root(first.setdefault(value, i))
    return np.unique([root(i) for i in range(len(clips))], return_inverse=True)[1].astype(np.int64)
