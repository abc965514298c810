"""Cuts windows of `seconds` out of each clip, one every `hop` seconds, and adds them to the training split."""

from collections.abc import Iterator
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from emotion_lightning.augment import OfflineAugmentation


class Slices(OfflineAugmentation):
    """Yields windows of a clip."""

    def __init__(self, seconds: float, hop: float):
        self.seconds, self.hop = seconds, hop

    def variants(
        self, wave: NDArray[np.float32], rate: int, generator: np.random.Generator
    ) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Yields the windows of a clip (samples,). A clip that is not longer than one window has none."""
        length, hop = round(self.seconds * rate), max(1, round(self.hop * rate))
        if len(wave) > length:
            for number, start in enumerate(range(0, len(wave) - length + 1, hop)):
                yield f"slice{number:03}", wave[start : start + length]


Seconds = Annotated[float, Field(ge=0.01)]  # shorter steps would make thousands of rows of a clip


def build(*, seconds: Seconds = 1.0, hop: Seconds = 0.5) -> Slices:
    return Slices(seconds, hop)
