"""Divides the training and validation sides of a split again, into inner folds that a search is scored on.

The test split stays closed: the splits made here have an empty one.
"""

from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from emotion_lightning.corpora import Clip
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import Split, promises
from emotion_lightning.protocols._pool import Key, Pool, recording, speaker

NO_CLIPS = np.empty(0, dtype=np.int64)


def inner_splits(data: EmotionData, folds: int) -> list[Split]:
    """Returns `folds` splits of the clips that are not on the test side; each of these clips is once for validation.

    Groups stay whole: speakers or sentences if the protocol promises a test side of new ones, else recordings. Variants of
    clips are for training only.

    Raises: UserError where there are too few groups.
    """
    clips, outer = data.clips, data.split
    rows = np.sort(np.concatenate([outer.train, outer.val]))
    recorded = np.array([i for i in rows if not clips[i].variant], dtype=np.int64)
    keys, noun = groups(data.experiment.protocol.name)
    pool = Pool.from_clips([clips[i] for i in recorded], keys, noun)
    parts = pool.parts(np.arange(len(pool.clips)), folds, data.experiment.seed)
    parts = [part for part in parts if len(part)]
    if len(parts) < folds:
        raise UserError(
            f"INNER={folds}: {folds} inner folds need as many {noun}, and clips of an emotion, besides the test split"
        )
    source = _source_rows(clips)
    splits = []
    for part in parts:
        val = np.sort(recorded[pool.order[part]])
        is_training = np.isin(source, np.setdiff1d(recorded, val))
        splits.append(Split(np.setdiff1d(np.flatnonzero(is_training), outer.test), val, NO_CLIPS))
    return splits


def groups(protocol: str) -> tuple[list[Key], str]:
    """Returns the keys of clips that stay together under this protocol, and what such a group is."""
    promised = promises(protocol)
    if "speaker" in promised:
        return [speaker, recording], "speakers"
    if "sentence" in promised:
        return [_sentence, recording], "sentences"
    return [recording], "recordings"


def _sentence(clip: Clip) -> Hashable:
    return clip.corpus, clip.sentence


def _source_rows(clips: list[Clip]) -> NDArray[np.int64]:
    """Returns, for each row (rows,), the row of the recorded clip that it was made of; its variants follow a clip."""
    is_recorded = np.array([not clip.variant for clip in clips])
    return np.maximum.accumulate(np.where(is_recorded, np.arange(len(clips)), 0))
