"""Adds to each clip another clip of the same emotion from the batch, more softly; the label stays.

Unlike Mixup, the blend is of one emotion. Ours, after the idea of mixing within a class (for example arXiv 1712.00378 for
sounds). A clip whose emotion no other clip of the batch has stays as it is.
"""

import torch
from torch import Tensor

from emotion_lightning.augment import Augmentation, random_mask, uniform
from emotion_lightning.config.ranges import Decibel, Share
from emotion_lightning.errors import UserError


class SameEmotion(Augmentation):
    """Adds waveforms (B, samples). The longer of the two clips gives the length."""

    stage = "waveform"

    def __init__(self, min_ratio_db: float, max_ratio_db: float, p: float):
        super().__init__()
        self.min_ratio_db, self.max_ratio_db, self.p = min_ratio_db, max_ratio_db, p

    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        emotion = targets.argmax(1)
        others = (emotion[:, None] == emotion) & ~torch.eye(len(x), dtype=torch.bool, device=x.device)
        partner = torch.rand(len(x), len(x), device=x.device).masked_fill(~others, -1).argmax(1)
        is_added = others.any(1) & random_mask(self.p, x)
        power = x.square().sum(1) / extent
        ratio = 10 ** (uniform(self.min_ratio_db, self.max_ratio_db, x) / 10)
        gain = (power / (power[partner] * ratio).clamp(min=1e-20)).sqrt() * is_added
        length = torch.where(is_added, torch.maximum(extent, extent[partner]), extent)
        return x + gain[:, None] * x[partner], length, targets


def build(*, min_ratio_db: Decibel = 3.0, max_ratio_db: Decibel = 15.0, p: Share = 0.5) -> SameEmotion:
    """The clip is louder than the added one by a ratio drawn between `min_ratio_db` and `max_ratio_db`.

    Raises: UserError where the first is larger.
    """
    if min_ratio_db > max_ratio_db:
        raise UserError(
            f"augment.same_emotion: min_ratio_db={min_ratio_db} is larger than max_ratio_db={max_ratio_db}"
        )
    return SameEmotion(min_ratio_db, max_ratio_db, p)
