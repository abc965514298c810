"""Speaker-disjoint folds: no speaker stands on two sides, the validation side included.

Every speaker is tested in one of the folds. Folds and validation side are stratified by corpus and emotion
(scikit-learn's StratifiedGroupKFold), so each holds speakers of each corpus as far as there are enough.
"""

from collections.abc import Sequence

from emotion_lightning.corpora import Clip
from emotion_lightning.protocols import Seed, Split, as_given
from emotion_lightning.protocols._pool import Count, Pool, recording, require, speaker

DISJOINT = ("speaker",)


def split(
    clips: Sequence[Clip], *, folds: Count = 5, fold: int = 0, split_seed: Seed = 0, val_folds: Count = 6
) -> Split:
    """`fold` in 0…folds-1 is tested; of the rest one part in `val_folds` chooses the epoch."""
    require(clips, "speaker", "speaker_folds")
    pool = Pool.of(clips, [speaker, recording], "speakers", corpora=as_given(clips))
    return pool.split(pool.fold(folds, fold, split_seed), val_folds, split_seed + fold)
