"""Long recordings: read block by block, cut into overlapping windows, and joined again to a timeline.

A window is as long as a typical training clip, because a model knows nothing longer. Windows overlap by half. Only one block and
one window are in memory, so a recording may last hours.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from emotion_lightning.data.audio import BadClip, Waveform, downmix, opened, require_numbers, require_whole

UNCERTAIN = "uncertain"
"""The answer where no emotion is probable enough."""
BLOCK_SECONDS = 30
BLOCK_SAMPLES = 2**24  # of all channels, of a file with many channels or a high rate
QUIET_DB = 40.0
"""A window that is so far below the loudest one counts as silence: a pause between sentences has no emotion."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording with one emotion; `start` and `end` in seconds, `confidence` its mean probability."""

    start: float
    end: float
    emotion: str
    confidence: float


def blocks(path: Path, rate: int) -> Iterator[Waveform]:
    """Yields the recording as consecutive mono waveforms (samples,) at `rate` Hz.

    Raises:
        BadClip: the file cannot be decoded, ends before its header says, or has samples that are not numbers.
    """
    try:
        with opened(path) as file:
            require_whole(file, path)
            resample = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32")
            size = min(BLOCK_SECONDS * file.samplerate, BLOCK_SAMPLES // file.channels)
            read = 0
            # not file.blocks, which yields the block before once more where a file ends early
            while len(block := file.read(size, dtype="float32", always_2d=True)):
                read += len(block)
                require_numbers(block)
                yield resample.resample_chunk(downmix(block), last=False)
            if read < file.frames:
                raise BadClip(f"truncated ({read} of {file.frames} samples)")
            yield resample.resample_chunk(np.zeros(0, np.float32), last=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise BadClip(f"corrupt ({getattr(error, 'error_string', error)})") from None


def windows(pieces: Iterable[Waveform], size: int, hop: int) -> Iterator[tuple[int, Waveform]]:
    """Yields the first sample and the waveform of each window of `size` samples, one every `hop`.

    The last window ends where the recording ends, so it may overlap more. A recording that is shorter is one window.
    """
    start, kept = 0, np.zeros(0, np.float32)  # `kept` begins at `start`
    for piece in pieces:
        kept = np.concatenate([kept, piece])
        while len(kept) >= size + hop:
            yield start, kept[:size]
            start, kept = start + hop, kept[hop:]
    if len(kept) <= size:
        if len(kept):
            yield start, kept
        return
    yield start, kept[:size]
    yield start + len(kept) - size, kept[-size:]


def level(wave: Waveform) -> float:
    """Returns the level of a waveform (samples,) in dB of full scale, without DC."""
    return float(20 * np.log10(max(float(np.std(wave)), 1e-9)))


@dataclass(frozen=True)
class Windows:
    """The windows of one recording, with positions in samples: `starts` (N,) and the windows' common `size`.

    `probabilities` (N, classes) are calibrated, `levels` (N,) in dB. `end` is the length of the recording.
    """

    starts: NDArray[np.int64]
    size: int
    end: int
    probabilities: NDArray[np.float32]
    levels: NDArray[np.float64]

    @property
    def has_sound(self) -> NDArray[np.bool_]:
        """(N,) whether a window is not silent."""
        return self.levels > self.levels.max(initial=-np.inf) - QUIET_DB

    @property
    def mean(self) -> NDArray[np.float32]:
        """The mean probabilities (classes,) of the windows with sound."""
        return self.probabilities[self.has_sound].mean(0)


def segments(windows: Windows, rate: int, names: Sequence[str], min_confidence: float) -> list[Segment]:
    """Joins windows to segments: each moment has the mean of the windows that contain it, and equal neighbours are merged.

    A moment whose windows are all silent belongs to no segment; one below `min_confidence` is "uncertain".
    """
    first, last = windows.starts, np.minimum(windows.starts + windows.size, windows.end)
    edges, has_sound = np.unique(np.concatenate([first, last])), windows.has_sound
    merged: list[Segment] = []
    for left, right in pairwise(edges):
        covers = (first <= left) & (last >= right) & has_sound
        if not covers.any():
            continue
        mean = windows.probabilities[covers].mean(0)
        confidence = float(mean.max())
        emotion = names[int(mean.argmax())] if confidence >= min_confidence else UNCERTAIN
        start, end = float(left / rate), float(right / rate)
        before = merged[-1] if merged else None
        if before and before.emotion == emotion and before.end == start:
            seconds = start - before.start, end - start
            confidence = (seconds[0] * before.confidence + seconds[1] * confidence) / sum(seconds)
            merged[-1] = Segment(before.start, end, emotion, confidence)
        else:
            merged.append(Segment(start, end, emotion, confidence))
    return merged
