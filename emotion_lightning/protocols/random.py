"""Folds by clip, stratified by corpus and emotion: every speaker is in all splits, only copies stay together.

The most common protocol of the field ("random 10-fold"). It measures how well emotions of known speakers are recognised.
Unlike in paper_random, every clip is tested in one of the folds, and each split has its share of every emotion.
"""

from collections.abc import Sequence

from emotion_lightning.corpora import Clip
from emotion_lightning.protocols import Seed, Split
from emotion_lightning.protocols._pool import Count, Pool, recording

DISJOINT: tuple[str, ...] = ()


def split(
    clips: Sequence[Clip], *, folds: Count = 5, fold: int = 0, split_seed: Seed = 0, val_folds: Count = 6
) -> Split:
    """Tests fold `fold` of 0…folds-1; of the rest, one part in `val_folds` is for validation."""
    pool = Pool.from_clips(clips, [recording], "clips")
    return pool.hold_out(pool.fold(folds, fold, split_seed), val_folds, split_seed + fold)
