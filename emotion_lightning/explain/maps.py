"""Maps of what mattered over time and band: their sums, their strongest parts, and how alike two maps are."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from emotion_lightning.explain import mel

BANDS = 8  # of equal width on the mel scale, of which a block has one
BLOCK = 0.15  # s, the shortest block: about the length of a syllable
MOST_BLOCKS = 20  # in time; of a longer clip, each is longer


@dataclass(frozen=True)
class Map:
    """How much each cell speaks for (> 0) or against (< 0) the predicted emotion."""

    values: NDArray[np.float64]  # (bands, times), the lowest band first; bands are equally wide on the mel axis
    seconds: float  # that the time axis spans, from the start of the sound
    sound: float  # the score of the predicted emotion
    silence: float  # that of the baseline; the values of integrated gradients sum up to the difference

    def summed(self, bands: int, times: int) -> "Map":
        """Returns the map in at most so many bands and times, each the sum of the cells in it."""
        before_bands, before_times = self.values.shape
        bands, times = min(bands, before_bands), min(times, before_times)
        row, column = np.arange(before_bands) * bands // before_bands, np.arange(before_times) * times // before_times
        sums = np.zeros((bands, times))
        np.add.at(sums, (row[:, None], column[None]), self.values)
        return replace(self, values=sums)


def time_blocks(seconds: float) -> int:
    """Returns the number of times that a sound is divided into."""
    return int(np.clip(seconds / BLOCK, 1, MOST_BLOCKS))


@dataclass(frozen=True)
class Block:
    """A part of a sound, with the sum of the map in it."""

    start: float  # s
    end: float
    low: float  # Hz
    high: float
    value: float

    def __str__(self) -> str:
        return f"{self.start:.2f} to {self.end:.2f} s, {_hertz(self.low)} to {_hertz(self.high)}"


def blocks(found: Map, sample_rate: int) -> list[Block]:
    """Sums the map in the blocks of occlusion; what speaks most for the emotion is first, and most against it last."""
    summed = found.summed(BANDS, time_blocks(found.seconds))
    rows, columns = summed.values.shape
    edges = mel.hertz(np.arange(rows + 1) / rows, sample_rate)
    moments = np.arange(columns + 1) / columns * found.seconds
    listed = [
        Block(
            float(moments[j]), float(moments[j + 1]), float(edges[i]), float(edges[i + 1]), float(summed.values[i, j])
        )
        for i in range(rows)
        for j in range(columns)
    ]
    return sorted(listed, key=lambda block: -block.value)


def _hertz(value: float) -> str:
    return f"{value:.0f} Hz" if value < 1000 else f"{value / 1000:.1f} kHz"


@dataclass(frozen=True)
class Likeness:
    """Spearman's rank correlation of two maps, -1…1; NaN where a map is constant."""

    signed: float
    sizes: float  # of the absolute values


def likeness(a: Map, b: Map) -> Likeness:
    """Compares two maps of one sound cell by cell."""
    if min(np.ptp(a.values), np.ptp(b.values)) == 0:
        return Likeness(float("nan"), float("nan"))
    signed = spearmanr(a.values.ravel(), b.values.ravel()).statistic
    sizes = spearmanr(np.abs(a.values).ravel(), np.abs(b.values).ravel()).statistic
    return Likeness(float(signed), float(sizes))
