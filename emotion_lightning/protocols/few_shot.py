"""Few clips of each test speaker are in the training split: how much does it help to know a new voice a little?

Folds and validation are those of `speaker_folds`. Then a `share` of each test speaker's recordings moves from the test split to
the training split. To compare several shares on the same test clips, name a `reserve`: it leaves the test split whatever the
share is, and its unused recordings are in no split. With `share: 0`, the figure is that of unseen speakers on these clips.

Source: the fine-tuning on a small share of the target speakers in HuMP-CAT, arXiv 2501.10408.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import Seed, Split, corpora_in_order, group_ids, sorted_indices
from emotion_lightning.protocols._pool import Count, Indices, Pool, recording, require, speaker

DISJOINT: tuple[str, ...] = ()
Share = Annotated[float, Field(ge=0, le=0.5)]


def split(
    clips: Sequence[Clip],
    *,
    folds: Count = 5,
    fold: int = 0,
    split_seed: Seed = 0,
    val_folds: Count = 6,
    share: Share = 0.1,
    reserve: Share | None = None,
) -> Split:
    """Tests fold `fold` of 0…folds-1. `share` and `reserve` are shares of each speaker's recordings; no reserve is the share.

    Raises: UserError for a share that is greater than the reserve.
    """
    reserve = share if reserve is None else reserve
    if share > reserve:
        raise UserError(f"protocol.share: {share:g} of the clips cannot come from a reserve of {reserve:g}")
    require(clips, "speaker", "few_shot")
    pool = Pool.from_clips(clips, [speaker, recording], "speakers", corpora=corpora_in_order(clips))
    whole = pool.hold_out(pool.fold(folds, fold, split_seed), val_folds, split_seed + fold)
    of_test = set(whole.test.tolist())
    tested = np.array([i for i in sorted_indices(clips).tolist() if i in of_test])
    draw = np.random.default_rng([split_seed, fold])
    reserved, shared = [np.empty(0, np.int64)], [whole.train]
    for recordings in _by_speaker(clips, tested):
        ordered = _in_random_order(clips, recordings, draw)
        reserved += ordered[: round(reserve * len(ordered))]
        shared += ordered[: round(share * len(ordered))]
    return Split(np.sort(np.concatenate(shared)), whole.val, np.setdiff1d(whole.test, np.concatenate(reserved)))


def _by_speaker(clips: Sequence[Clip], tested: Indices) -> list[list[Indices]]:
    """Returns the recordings of each speaker, each with all its copies; one that two speakers share is of the first."""
    groups = group_ids([clips[i] for i in tested], [recording])
    by_speaker: dict[str, list[Indices]] = {}
    ends = np.cumsum(np.bincount(groups))[:-1]  # groups are numbered from 0
    for copies in np.split(tested[np.argsort(groups, kind="stable")], ends):
        by_speaker.setdefault(clips[copies[0]].speaker, []).append(copies)
    return list(by_speaker.values())


def _in_random_order(clips: Sequence[Clip], recordings: list[Indices], draw: np.random.Generator) -> list[Indices]:
    """Returns the recordings in an order of which any first part has the emotions in equal numbers, as far as possible."""
    by_emotion: dict[str, list[Indices]] = {}
    for number in draw.permutation(len(recordings)):
        copies = recordings[number]
        by_emotion.setdefault(clips[copies[0]].emotion, []).append(copies)
    turn = {emotion: number for number, emotion in enumerate(draw.permutation(sorted(by_emotion)).tolist())}
    ranked = [
        (rank, turn[e], copies) for e, of_emotion in by_emotion.items() for rank, copies in enumerate(of_emotion)
    ]
    return [copies for _, _, copies in sorted(ranked, key=lambda entry: entry[:2])]
