"""Speaker-disjoint folds: no speaker is in two splits, the validation split included.

Every speaker is tested in one of the folds. Folds and the validation split are stratified by corpus and emotion
(scikit-learn's StratifiedGroupKFold), so each has speakers of each corpus if there are enough.
"""

from collections.abc import Sequence

from emotion_lightning.corpora import Clip
from emotion_lightning.protocols import Seed, Split, corpora_in_order
from emotion_lightning.protocols._pool import Count, Pool, recording, require, speaker

DISJOINT = ("speaker",)


def split(
    clips: Sequence[Clip], *, folds: Count = 5, fold: int = 0, split_seed: Seed = 0, val_folds: Count = 6
) -> Split:
    """Tests fold `fold` of 0…folds-1; of the rest, one part in `val_folds` is for validation."""
    require(clips, "speaker", "speaker_folds")
    pool = Pool.from_clips(clips, [speaker, recording], "speakers", corpora=corpora_in_order(clips))
    return pool.hold_out(pool.fold(folds, fold, split_seed), val_folds, split_seed + fold)
