"""Sentence-disjoint folds: no sentence of the test side is spoken on another side. Speakers stand on all sides.

It measures whether emotions are told by the voice or by words that were learned with them. Every sentence is tested in one
of the folds, and every corpus and every emotion is trained on and tested in every fold; hence no more folds than the
poorest corpus or emotion has sentences. RAVDESS has two, so two is the default.

The validation side has sentences of its own in a corpus that has enough: at least two of each emotion besides the tested
ones. Otherwise (RAVDESS: one sentence is tested, one is left) it takes clips of the training sentences: the epoch is then
chosen on words that were trained on. The test side shares no sentence with either in any case.
"""

from collections.abc import Sequence

import numpy as np

from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import Seed, Split, linked
from emotion_lightning.protocols._pool import Count, Indices, Pool, recording, require

DISJOINT = ("sentence",)


def split(
    clips: Sequence[Clip], *, folds: Count = 2, fold: int = 0, split_seed: Seed = 0, val_folds: Count = 6
) -> Split:
    """`fold` in 0…folds-1 is tested; of each corpus's rest one part in `val_folds` chooses the epoch."""
    require(clips, "sentence", "text_independent")
    pool = Pool.of(clips, [lambda clip: (clip.corpus, clip.sentence), recording], "sentences")
    _refuse_too_few(pool, folds)
    test = pool.fold(folds, fold, split_seed, least=2)
    val = _validation(pool, pool.rest(test), val_folds, split_seed + fold)
    if not len(val):
        raise UserError("protocol.val_folds: too few clips of the training sentences for a validation side")
    for side, verb in ((test, "tests"), (pool.rest(test, val), "trains on")):
        if missing := sorted(_names(pool, pool.rest()) - _names(pool, side)):
            raise UserError(
                f"protocol.split_seed: fold {fold} of seed {split_seed} {verb} no clip of {missing[0]}, whose sentences "
                f"are few; another seed divides them otherwise"
            )
    return pool.sides(val, test)


def _refuse_too_few(pool: Pool, folds: int) -> None:
    corpora = {clip.corpus for clip in pool.clips}
    for name in sorted(_names(pool, pool.rest()), key=lambda name: (name not in corpora, name)):
        of = [i for i, clip in enumerate(pool.clips) if name in (clip.corpus, clip.emotion)]
        if (count := len(np.unique(pool.groups[of]))) < folds:
            raise UserError(
                f"protocol.folds: {folds} folds need as many sentences of each corpus and emotion, and {name} has {count}"
            )


def _names(pool: Pool, of: Indices) -> set[str]:
    """The corpora and the emotions of these clips."""
    return {name for i in of for name in (pool.clips[i].corpus, pool.clips[i].emotion)}


def _validation(pool: Pool, rest: Indices, val_folds: int, seed: int) -> Indices:
    """Corpus by corpus, so that each has its share of the side."""
    _, first = np.unique(pool.groups, return_index=True)
    home = np.array([clip.corpus for clip in pool.clips])[first][pool.groups]  # two corpora may share a recording
    chosen = [_share(pool, rest[home[rest] == corpus], val_folds, seed) for corpus in np.unique(home[rest])]
    return np.concatenate([np.empty(0, dtype=np.int64), *chosen])


def _share(pool: Pool, here: Indices, val_folds: int, seed: int) -> Indices:
    """Of one corpus's clips: sentences where enough are left, else clips; none where one clip is all there is."""

    def emotions(of: Indices) -> set[str]:
        return {pool.clips[i].emotion for i in of}

    def keeps_all(part: Indices) -> tuple[bool, bool]:
        return emotions(np.setdiff1d(here, part)) == emotions(here), emotions(part) == emotions(here)

    kinds = pool.kinds[here]
    left = min(len(np.unique(pool.groups[here][kinds == kind])) for kind in np.unique(kinds))
    own = pool.parts(here, min(val_folds, left), seed) if left >= 2 else []
    by_clip = pool.parts(here, val_folds, seed, linked(pool.clips, [recording]))
    found = [part for part in own if all(keeps_all(part))]
    found += [part for part in by_clip if 0 < len(part) < len(here)]
    return max(found, key=keeps_all) if found else np.empty(0, dtype=np.int64)
