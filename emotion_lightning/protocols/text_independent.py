"""Sentence-disjoint folds: no sentence of the test split is in another split. Speakers are in all splits.

It measures whether emotions are recognised by the voice or by learned words. Every sentence is tested in one of the folds.
Every fold trains and tests on each corpus and each emotion. So there are at most as many folds as the corpus or emotion with
the fewest sentences has: RAVDESS has two, so two is the default.

The validation split has sentences of its own in a corpus that has enough: at least two of each emotion besides the tested
ones. In RAVDESS one sentence is tested and one is left. There the validation clips have the training sentences, so the epoch
is chosen on words that were trained on. The test split shares no sentence with either.
"""

from collections.abc import Sequence

import numpy as np

from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import Seed, Split, group_ids
from emotion_lightning.protocols._pool import Count, Indices, Pool, recording, require

DISJOINT = ("sentence",)


def split(
    clips: Sequence[Clip], *, folds: Count = 2, fold: int = 0, split_seed: Seed = 0, val_folds: Count = 6
) -> Split:
    """Tests fold `fold` of 0…folds-1; of the rest of each corpus, one part in `val_folds` is for validation."""
    require(clips, "sentence", "text_independent")
    pool = Pool.from_clips(clips, [lambda clip: (clip.corpus, clip.sentence), recording], "sentences")
    _refuse_too_few(pool, folds)
    test = pool.fold(folds, fold, split_seed, least=2)
    val = _validation(pool, pool.rest(test), val_folds, split_seed + fold)
    if not len(val):
        raise UserError("protocol.val_folds: too few clips of the training sentences for a validation split")
    for clips_of_split, verb in ((test, "tests"), (pool.rest(test, val), "trains on")):
        if missing := sorted(_names(pool, pool.rest()) - _names(pool, clips_of_split)):
            raise UserError(
                f"protocol.split_seed: fold {fold} of seed {split_seed} {verb} no clip of {missing[0]}, which has "
                f'few sentences; another seed divides them differently, and SET="emotions.{missing[0]}=off" leaves it out'
            )
    return pool.to_split(val, test)


def _refuse_too_few(pool: Pool, folds: int) -> None:
    corpora = {clip.corpus for clip in pool.clips}
    for name in sorted(_names(pool, pool.rest()), key=lambda name: (name not in corpora, name)):
        clips = [i for i, clip in enumerate(pool.clips) if name in (clip.corpus, clip.emotion)]
        if (count := len(np.unique(pool.groups[clips]))) < folds:
            raise UserError(
                f"protocol.folds: {folds} folds need as many sentences of each corpus and emotion, and {name} has {count}; "
                f'SET="{"corpora" if name in corpora else "emotions"}.{name}=off" leaves it out'
            )


def _names(pool: Pool, clips: Indices) -> set[str]:
    """Returns the corpora and the emotions of these clips."""
    return {name for i in clips for name in (pool.clips[i].corpus, pool.clips[i].emotion)}


def _validation(pool: Pool, rest: Indices, val_folds: int, seed: int) -> Indices:
    """Returns the validation clips, chosen corpus by corpus so that each has its share."""
    _, first = np.unique(pool.groups, return_index=True)
    home = np.array([clip.corpus for clip in pool.clips])[first][pool.groups]  # two corpora may share a recording
    chosen = [_share(pool, rest[home[rest] == corpus], val_folds, seed) for corpus in np.unique(home[rest])]
    return np.concatenate([np.empty(0, dtype=np.int64), *chosen])


def _share(pool: Pool, clips: Indices, val_folds: int, seed: int) -> Indices:
    """Returns validation clips of one corpus: whole sentences if enough are left, else clips; none if there is one clip."""

    def emotions(indices: Indices) -> set[str]:
        return {pool.clips[i].emotion for i in indices}

    def keeps_all(part: Indices) -> tuple[bool, bool]:
        return emotions(np.setdiff1d(clips, part)) == emotions(clips), emotions(part) == emotions(clips)

    kinds = pool.kinds[clips]
    left = min(len(np.unique(pool.groups[clips][kinds == kind])) for kind in np.unique(kinds))
    by_sentence = pool.parts(clips, min(val_folds, left), seed) if left >= 2 else []
    by_clip = pool.parts(clips, val_folds, seed, group_ids(pool.clips, [recording]))
    candidates = [part for part in by_sentence if all(keeps_all(part))]
    candidates += [part for part in by_clip if 0 < len(part) < len(clips)]
    return max(candidates, key=keeps_all) if candidates else np.empty(0, dtype=np.int64)
