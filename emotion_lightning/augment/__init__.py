"""Augmentations: one file each. They apply to the training split only.

Each has a stage: `waveform` (features are then recomputed in the training step), `spectrogram` (after the feature, before
normalisation) or `batch` (last, after normalisation). They run in batches, on the device of the model, in the order of the
YAML file within a stage. Random numbers come from torch's global generators, which are seeded again for each epoch.

An offline augmentation has the stage `rows`. It is applied once, before training: a training clip then has several rows,
and the cache stores their features. Validation and test use clips as recorded, except with the protocol leaky_rows.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

STAGES = ("waveform", "spectrogram", "batch")


class Augmentation(nn.Module):
    """Changes a batch in the training step."""

    stage: Literal["waveform", "spectrogram", "batch"] = "spectrogram"

    @abstractmethod
    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns changed `x`, `extent` and `targets` of the same shapes.

        `x` is (B, samples) or (B, C, F, T). `extent` (B,) is the length in samples, or the valid share of the time axis.
        `targets` (B, classes) are soft labels that sum to one.
        """


class OfflineAugmentation(ABC):
    """Makes additional rows of a clip before training."""

    stage: ClassVar = "rows"

    @abstractmethod
    def variants(
        self, wave: NDArray[np.float32], rate: int, generator: np.random.Generator
    ) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Yields the kind of each additional row, unique in the clip, and its waveform.

        `wave` (samples,) has the sample rate `rate` in Hz. Each clip has its own `generator`, so that its rows do not depend
        on other clips.
        """


def random_mask(p: float, batch: Tensor) -> Tensor:
    """Returns (B,), each True with probability `p`, on the device of the batch."""
    return torch.rand(len(batch), device=batch.device) < p


def uniform(low: float, high: float, batch: Tensor) -> Tensor:
    """Returns (B,), drawn uniformly from low…high, on the device of the batch."""
    return torch.empty(len(batch), device=batch.device).uniform_(low, high)
