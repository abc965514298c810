"""Shared by protocols that keep groups of clips together: stratified parts of whole groups, and a validation split.

A group is never divided between splits: a speaker, a sentence, the copies of one recording. A kind is what each part gets its
share of: corpus and emotion. The parts come from scikit-learn's StratifiedGroupKFold.
"""

import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import Split, group_ids, sorted_indices

Count = Annotated[int, Field(ge=2)]
Indices = NDArray[np.int64]
Key = Callable[[Clip], Hashable]


def recording(clip: Clip) -> Hashable:
    """Returns the key that is equal for copies of one recording."""
    return clip.content


def speaker(clip: Clip) -> Hashable:
    """Returns the key that is equal for clips of one speaker."""
    return clip.speaker


@dataclass(frozen=True)
class Pool:
    """The clips that a protocol divides, sorted. `to_split` turns indices of the pool into indices of the given list."""

    clips: Sequence[Clip]
    order: Indices  # (clips,) the index of each in the given list
    groups: Indices  # (clips,)
    kinds: NDArray[np.str_]  # (clips,)
    group_noun: str  # what a group is, in messages: "speakers"

    @classmethod
    def from_clips(
        cls,
        clips: Sequence[Clip],
        keys: Sequence[Key],
        group_noun: str,
        corpora: Sequence[str] | None = None,
        keep: Callable[[Clip], bool] = lambda clip: True,
    ) -> "Pool":
        """Groups clips that share any of the keys; clips that are not kept will be in no split."""
        order = np.array([i for i in sorted_indices(clips, corpora) if keep(clips[i])], dtype=np.int64)
        kept = [clips[i] for i in order]
        kinds = np.array([f"{clip.corpus}/{clip.emotion}" for clip in kept])
        return cls(kept, order, group_ids(kept, keys), kinds, group_noun)

    def fold(self, folds: int, fold: int, seed: int, least: int = 3) -> Indices:
        """Returns the clips of one of `folds` parts. At least `least` groups are needed.

        Raises: UserError for a fold outside 0…folds-1, and for too few groups or clips.
        """
        if not 0 <= fold < folds:
            raise UserError(f"protocol.fold: {fold} is not one of the folds 0…{folds - 1}")
        if (count := len(np.unique(self.groups))) < max(folds, least):
            raise UserError(f"protocol.folds: {folds} folds need as many {self.group_noun}, and there are {count}")
        tests = self.parts(np.arange(len(self.clips)), folds, seed)
        if len(tests) < folds:
            raise UserError(
                f"protocol.folds: {folds} folds need as many clips of an emotion, and there are fewer of each; try "
                f"protocol.folds={len(tests)}"
            )
        if not len(tests[fold]):
            raise UserError(
                f"protocol.folds: {folds} folds are too many for these {self.group_noun}, fold {fold} has none"
            )
        return tests[fold]

    def parts(self, clips: Indices, n: int, seed: int, groups: Indices | None = None) -> list[Indices]:
        """Returns the clips in `n` parts, or in as many as possible: whole groups (the pool's by default), kinds balanced."""
        from sklearn.model_selection import StratifiedGroupKFold  # takes a second, which not all protocols need

        groups = self.groups if groups is None else groups
        # scikit-learn needs as many groups as parts, and a kind with as many clips
        n = min(n, len(np.unique(groups[clips])), max(Counter(self.kinds[clips].tolist()).values(), default=0))
        if n < 2:
            return [clips]
        folder = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The least populated class")  # SAVEE has few of each
            return [clips[part] for _, part in folder.split(clips, self.kinds[clips], groups[clips])]

    def hold_out(self, test: Indices, val_folds: int, seed: int) -> Split:
        """Returns the split with these test clips. Of the other clips, one part in `val_folds` is for validation.

        Raises: UserError where too few groups are left.
        """
        parts = [part for part in self.parts(self.rest(test), val_folds, seed) if len(part)]
        if len(parts) < 2:
            raise UserError(
                f"protocol.val_folds: too few {self.group_noun} besides the tested ones for a validation split"
            )
        return self.to_split(parts[0], test)

    def rest(self, *taken: Indices) -> Indices:
        """Returns the clips that are not taken; all clips if nothing is."""
        return np.setdiff1d(np.arange(len(self.clips)), np.concatenate([np.empty(0, dtype=np.int64), *taken]))

    def to_split(self, val: Indices, test: Indices) -> Split:
        """Returns the split with these validation and test clips; all others are for training."""
        return Split(*(np.sort(self.order[clips]) for clips in (self.rest(val, test), val, test)))


def require(clips: Sequence[Clip], field: str, protocol: str) -> None:
    """Raises UserError for clips without the field that the protocol needs."""
    if missing := Counter(clip.corpus for clip in clips if not getattr(clip, field)):
        counts = ", ".join(f"{count} of {corpus}" for corpus, count in sorted(missing.items()))
        raise UserError(f"protocol.name: {protocol} needs the {field} of each clip, which is unknown for {counts}")
