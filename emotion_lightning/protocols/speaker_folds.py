"""Speaker-disjoint folds: no speaker stands on two sides, the validation side included.

Every speaker is tested in one of the folds. Folds and validation side are stratified by corpus and emotion
(scikit-learn's StratifiedGroupKFold), so each holds speakers of each corpus as far as there are enough.
"""

import warnings
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import Seed, Split, linked

Count = Annotated[int, Field(ge=2)]


def split(
    clips: Sequence[Clip], *, folds: Count = 5, fold: int = 0, split_seed: Seed = 0, val_folds: Count = 6
) -> Split:
    """`fold` in 0…folds-1 is tested; of the rest one part in `val_folds` chooses the epoch."""
    from sklearn.model_selection import StratifiedGroupKFold  # a second of import that other protocols need not pay

    speakers = linked(clips, [lambda clip: clip.speaker, lambda clip: clip.content])
    if not 0 <= fold < folds:
        raise UserError(f"protocol.fold: {fold} is not one of the folds 0…{folds - 1}")
    if (count := len(np.unique(speakers))) < max(folds, 3):
        raise UserError(f"protocol.folds: {folds} folds need as many speakers, and there are {count}")
    kinds = np.array([f"{clip.corpus}/{clip.emotion}" for clip in clips])

    def parts(of: NDArray[np.int64], n: int, seed: int) -> list[NDArray[np.int64]]:
        # scikit-learn wants as many speakers as parts, and as many clips of one kind at least
        if (n := min(n, len(np.unique(speakers[of])), np.unique(kinds[of], return_counts=True)[1].max())) < 2:
            raise UserError(f"protocol.folds: too few speakers or clips for {folds} folds and a validation side")
        folder = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The least populated class")  # SAVEE has few of each
            return [of[part] for _, part in folder.split(of, kinds[of], speakers[of])]

    everything = np.arange(len(clips))
    if len(tests := parts(everything, folds, split_seed)) < folds:
        raise UserError(
            f"protocol.folds: {folds} folds need as many clips of an emotion, and there are fewer of each"
        )
    val = parts(np.setdiff1d(everything, tests[fold]), val_folds, split_seed + fold)[0]
    return Split.of(len(clips), val=val, test=tests[fold])
