"""Augmentations: one file each, applied to the training side and nowhere else.

Each names its stage: `waveform` (features are then recomputed in the step), `spectrogram` (what the feature presents,
before normalisation), or `batch` (last, after normalisation), all three batched on the device in the training step.
Within a stage they go in the order of the YAML. All chance comes from torch's global generators, which each epoch seeds anew.

Of stage `rows` are those that are applied before training, once: each clip of the training side then stands there as
several rows, and the cache holds their features. What it is validated and tested on is the clip as recorded, unless the
protocol says otherwise (leaky_rows).
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
    stage: Literal["waveform", "spectrogram", "batch"] = "spectrogram"

    @abstractmethod
    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: (B, samples) or (B, C, F, T); extent (B,): lengths in samples, or the valid share of the time axis;
        targets (B, classes): soft labels that sum to one. Returns the three of the same shapes."""


class OfflineAugmentation(ABC):
    """Further rows of a clip."""

    stage: ClassVar = "rows"

    @abstractmethod
    def variants(
        self, wave: NDArray[np.float32], rate: int, chance: np.random.Generator
    ) -> Iterator[tuple[str, NDArray[np.float32]]]:
        """Of a clip's waveform (samples,) at `rate` Hz: each further row's kind, unique in the clip, and its waveform.
        `chance` is the clip's own, so that its rows hang on no other clip."""


def chance(p: float, like: Tensor) -> Tensor:
    """(B,) of which each is True with probability p."""
    return torch.rand(len(like), device=like.device) < p


def uniform(low: float, high: float, like: Tensor) -> Tensor:
    """(B,) drawn evenly from low…high."""
    return torch.empty(len(like), device=like.device).uniform_(low, high)
