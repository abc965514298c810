"""What the protocols share that keep groups of clips together: stratified parts of whole groups, a validation side.

A group is what a side takes all or none of: a speaker, a sentence, the copies of one recording. A kind is what each part
gets its share of: corpus and emotion. The parts are those of scikit-learn's StratifiedGroupKFold.
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
from emotion_lightning.protocols import Split, in_order, linked

Count = Annotated[int, Field(ge=2)]
Indices = NDArray[np.int64]
Key = Callable[[Clip], Hashable]


def recording(clip: Clip) -> Hashable:
    return clip.content


def speaker(clip: Clip) -> Hashable:
    return clip.speaker


@dataclass(frozen=True)
class Pool:
    """The clips that a protocol shares out, sorted; what it returns are indices into the list that it was given."""

    clips: Sequence[Clip]
    order: Indices  # (clips,) where each of them stands in the list that was given
    groups: Indices  # (clips,)
    kinds: NDArray[np.str_]  # (clips,)
    what: str  # what a group is, in messages: "speakers"

    @classmethod
    def of(
        cls,
        clips: Sequence[Clip],
        by: Sequence[Key],
        what: str,
        corpora: Sequence[str] | None = None,
        keep: Callable[[Clip], bool] = lambda clip: True,
    ) -> "Pool":
        """Clips that share any of the keys are of one group; those that are not kept will be on no side."""
        order = np.array([i for i in in_order(clips, corpora) if keep(clips[i])], dtype=np.int64)
        kept = [clips[i] for i in order]
        kinds = np.array([f"{clip.corpus}/{clip.emotion}" for clip in kept])
        return cls(kept, order, linked(kept, by), kinds, what)

    def fold(self, folds: int, fold: int, seed: int, least: int = 3) -> Indices:
        """The clips of one of `folds` parts; `least` is how many groups it takes in any case."""
        if not 0 <= fold < folds:
            raise UserError(f"protocol.fold: {fold} is not one of the folds 0…{folds - 1}")
        if (count := len(np.unique(self.groups))) < max(folds, least):
            raise UserError(f"protocol.folds: {folds} folds need as many {self.what}, and there are {count}")
        tests = self.parts(np.arange(len(self.clips)), folds, seed)
        if len(tests) < folds:
            raise UserError(
                f"protocol.folds: {folds} folds need as many clips of an emotion, and there are fewer of each"
            )
        if not len(tests[fold]):
            raise UserError(f"protocol.folds: {folds} folds are too many for these {self.what}, fold {fold} has none")
        return tests[fold]

    def parts(self, of: Indices, n: int, seed: int, groups: Indices | None = None) -> list[Indices]:
        """The clips `of` in `n` parts, or in as many as can be: whole groups (the pool's unless given), kinds alike."""
        from sklearn.model_selection import StratifiedGroupKFold  # a second of import that not all protocols need pay

        groups = self.groups if groups is None else groups
        # scikit-learn wants as many groups as parts, and as many clips of one kind at least
        n = min(n, len(np.unique(groups[of])), max(Counter(self.kinds[of].tolist()).values(), default=0))
        if n < 2:
            return [of]
        folder = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The least populated class")  # SAVEE has few of each
            return [of[part] for _, part in folder.split(of, self.kinds[of], groups[of])]

    def split(self, test: Indices, val_folds: int, seed: int) -> Split:
        """Of what is not tested, one part in `val_folds` chooses the epoch, whole groups again."""
        found = [part for part in self.parts(self.rest(test), val_folds, seed) if len(part)]
        if len(found) < 2:
            raise UserError(f"protocol.val_folds: too few {self.what} besides the tested ones for a validation side")
        return self.sides(found[0], test)

    def rest(self, *taken: Indices) -> Indices:
        """What is not taken; everything if nothing is."""
        return np.setdiff1d(np.arange(len(self.clips)), np.concatenate([np.empty(0, dtype=np.int64), *taken]))

    def sides(self, val: Indices, test: Indices) -> Split:
        return Split(*(np.sort(self.order[side]) for side in (self.rest(val, test), val, test)))


def require(clips: Sequence[Clip], field: str, protocol: str) -> None:
    """Refuses clips whose names do not tell what the protocol goes by."""
    if missing := Counter(clip.corpus for clip in clips if not getattr(clip, field)):
        told = ", ".join(f"{count} of {corpus}" for corpus, count in sorted(missing.items()))
        raise UserError(f"protocol.name: {protocol} goes by each clip's {field}, which is not known of {told}")
