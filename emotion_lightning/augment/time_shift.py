"""Moves each clip in time, and puts what leaves it at one end in at the other.

A network then cannot rely on where in a clip something happens. Source: a common augmentation of audio, for example in
Salamon and Bello 2017, arXiv 1608.04363.
"""

import torch
from torch import Tensor

from emotion_lightning.augment import Augmentation, random_mask, uniform
from emotion_lightning.config.ranges import Share


class TimeShift(Augmentation):
    """Rotates waveforms (B, samples) within each clip. The zeros after the end of a clip stay there."""

    stage = "waveform"

    def __init__(self, max_share: float, p: float):
        super().__init__()
        self.max_share, self.p = max_share, p

    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shift = (uniform(-self.max_share, self.max_share, x) * random_mask(self.p, x) * extent).round().long()
        time = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
        length = extent.long().clamp(min=1)[:, None]
        source = torch.where(time < length, (time - shift[:, None]) % length, time)
        return x.gather(1, source), extent, targets


def build(*, max_share: Share = 0.2, p: Share = 0.5) -> TimeShift:
    """`max_share` is the largest move, as a share of the clip; `p` is the share of clips that are moved."""
    return TimeShift(max_share, p)
