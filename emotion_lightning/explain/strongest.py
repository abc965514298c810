"""Says in words where a map is strongest."""

from dataclasses import dataclass

import numpy as np

from emotion_lightning.explain import mel
from emotion_lightning.explain.attribution import Map

SECONDS, BANDS = 0.2, 8  # about the size of a syllable; bands of equal width on the mel scale


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
    """Sums the map in blocks of about 0.2 s and an eighth of the mel axis; the order is from for to against."""
    summed = found.summed(BANDS, max(1, round(found.seconds / SECONDS)))
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
