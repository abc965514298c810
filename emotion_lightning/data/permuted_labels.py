"""Permutes the emotions of each speaker's clips: a check of the whole pipeline, in which every score has to be that of chance."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from emotion_lightning.corpora import Clip


def permuted(clips: Sequence[Clip], seed: int) -> list[Clip]:
    """Returns the clips with the emotions of each speaker's recordings in random order; variants follow their recording.

    Each speaker keeps as many clips of each emotion, so nothing can be gained from a speaker's habits. Copies of one recording
    keep one emotion.
    """
    generator = np.random.default_rng(seed)
    recordings = {(clip.speaker, clip.id): clip.content for clip in clips if not clip.variant}

    def recording(clip: Clip) -> tuple[str, str]:
        return clip.speaker, recordings[clip.speaker, clip.id.partition("#")[0]]

    emotions = {recording(clip): clip.emotion for clip in clips}
    chosen: dict[tuple[str, str], str] = {}
    for speaker in sorted({clip.speaker for clip in clips}):
        keys = sorted(key for key in emotions if key[0] == speaker)
        order = generator.permutation(len(keys))
        chosen |= {key: emotions[keys[i]] for key, i in zip(keys, order, strict=True)}
    return [replace(clip, emotion=chosen[recording(clip)]) for clip in clips]
