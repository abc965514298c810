"""Speaker-disjoint folds: no speaker stands on two sides, the validation side included.

Every speaker is tested in one of the folds. Folds and validation side are stratified by corpus and emotion
(scikit-learn's StratifiedGroupKFold), so each holds speakers of each corpus as far as there are enough.
"""

from collections.abc import Sequence

import numpy as np

from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import Split, linked


def split(clips: Sequence[Clip], *, folds: int = 5, fold: int = 0, split_seed: int = 0, val_folds: int = 6) -> Split:
    """`fold` in 0…folds-1 is tested; of the rest one part in `val_folds` chooses the epoch."""
    from sklearn.model_selection import StratifiedGroupKFold  # a second of import that other protocols need not pay

    speakers = linked(clips, [lambda clip: clip.speaker, lambda clip: clip.content])
    if not 0 <= fold < folds:
        raise UserError(f"protocol.fold: {fold} is not one of the folds 0…{folds - 1}")
    if (count := len(np.unique(speakers))) < max(folds, 3):
        raise UserError(f"protocol.folds: {folds} folds need as many speakers, and there are {count}")
    kinds = np.array([f"{clip.corpus}/{clip.emotion}" for clip in clips])

    def parts(of: np.ndarray, n: int, seed: int) -> list[np.ndarray]:
        n = min(n, len(np.unique(speakers[of])))
        folder = StratifiedGroupKFold(n, shuffle=True, random_state=seed)
        return [of[part] for _, part in folder.split(of, kinds[of], speakers[of])]

    test = parts(np.arange(len(clips)), folds, split_seed)[fold]
    val = parts(np.setdiff1d(np.arange(len(clips)), test), val_folds, split_seed + fold)[0]
    return Split.of(len(clips), val=val, test=test)
