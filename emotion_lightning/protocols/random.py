"""Folds by clip, stratified by corpus and emotion: each speaker is heard on all sides, only copies stay together.

The common protocol of the field ("random 10-fold"). It measures how well known speakers are told; unlike paper_random
every clip is tested in one of the folds, and each side has its share of every emotion.
"""

from collections.abc import Sequence

from emotion_lightning.corpora import Clip
from emotion_lightning.protocols import Seed, Split
from emotion_lightning.protocols._pool import Count, Pool, recording

DISJOINT: tuple[str, ...] = ()


def split(
    clips: Sequence[Clip], *, folds: Count = 5, fold: int = 0, split_seed: Seed = 0, val_folds: Count = 6
) -> Split:
    """`fold` in 0…folds-1 is tested; of the rest one part in `val_folds` chooses the epoch."""
    pool = Pool.of(clips, [recording], "clips")
    return pool.split(pool.fold(folds, fold, split_seed), val_folds, split_seed + fold)
