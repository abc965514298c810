"""Augmentations: one file each, batched on the device, applied in the training step and nowhere else.

Each names its stage: `waveform` (features are then recomputed in the step), `spectrogram` (what the feature presents,
before normalisation), or `batch` (last, after normalisation). Within a stage they go in the order of the YAML.
All chance comes from torch's global generators, which each epoch seeds anew.
"""

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor, nn

STAGES = ("waveform", "spectrogram", "batch")


class Augmentation(nn.Module):
    stage: Literal["waveform", "spectrogram", "batch"] = "spectrogram"

    @abstractmethod
    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x: (B, samples) or (B, C, F, T); extent (B,): lengths in samples, or the valid share of the time axis;
        targets (B, classes): soft labels that sum to one. Returns the three of the same shapes."""


def chance(p: float, like: Tensor) -> Tensor:
    """(B,) of which each is True with probability p."""
    return torch.rand(len(like), device=like.device) < p


def uniform(low: float, high: float, like: Tensor) -> Tensor:
    """(B,) drawn evenly from low…high."""
    return torch.empty(len(like), device=like.device).uniform_(low, high)
