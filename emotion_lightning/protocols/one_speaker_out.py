"""Leave one speaker out (LOSO): one speaker is tested, some whole speakers are for validation, the others for training.

There is one fold for each speaker. The figure of one fold is that of one person; only the mean over all folds is meaningful.
Speakers who share a recording count as one and are tested together.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator

from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError, nearest
from emotion_lightning.protocols import Seed, Split
from emotion_lightning.protocols import _pool as pools

DISJOINT = ("speaker",)
Name = Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)]
"""A speaker; in YAML, 03 is a number."""


def count_folds(clips: Sequence[Clip], *, speaker: str = "", **settings: object) -> int:
    """Returns the number of speakers, of whom each is tested in one fold.

    Raises: UserError where `speaker` names one.
    """
    if speaker:
        raise UserError(f"protocol.speaker: {speaker} alone is tested; leave it out to test every speaker")
    return len({clip.speaker for clip in clips})


def split(
    clips: Sequence[Clip], *, fold: int = 0, speaker: Name = "", split_seed: Seed = 0, val_folds: pools.Count = 6
) -> Split:
    """Tests one speaker: number `fold` in sorted order, from 0; `speaker` names one instead ("ravdess-07") and has precedence.

    Of the other speakers, one stratified part in `val_folds` is for validation.
    """
    pools.require(clips, "speaker", "one_speaker_out")
    pool = pools.Pool.from_clips(clips, [pools.speaker, pools.recording], "speakers")
    group = {clip.speaker: number for clip, number in zip(pool.clips, pool.groups.tolist(), strict=True)}
    voices = list(dict.fromkeys(group[name] for name in sorted(group)))  # by the first speaker of each
    if speaker and speaker not in group:
        alike = [name for name in sorted(group) if name.rpartition("-")[2].lstrip("0") == speaker.lstrip("0")]  # 03
        hint = f"; did you mean '{alike[0]}'?" if alike else nearest(speaker, group)
        raise UserError(f"protocol.speaker: there is no speaker '{speaker}'{hint}")
    if speaker:
        fold = voices.index(group[speaker])
    if not 0 <= fold < len(voices):
        raise UserError(f"protocol.fold: {fold} is not one of the speakers 0…{len(voices) - 1}")
    return pool.hold_out(np.flatnonzero(pool.groups == voices[fold]), val_folds, split_seed + fold)
