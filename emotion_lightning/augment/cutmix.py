"""Replaces a rectangle of each clip by that of another clip, and its label by as large a share: CutMix.

Source: Yun et al. 2019, arXiv 1905.04899. The rectangle has the area 1 - λ with λ ~ Beta(alpha, alpha) and the shape of the
whole; it is drawn for each clip. Where it reaches over the edge, it is cut off, and the label's share follows the rest.
"""

import torch
from pydantic import PositiveFloat
from torch import Tensor

from emotion_lightning.augment import Augmentation, random_mask
from emotion_lightning.config.ranges import Share


class CutMix(Augmentation):
    """Mixes inputs (B, C, F, T)."""

    stage = "batch"

    def __init__(self, alpha: float, p: float):
        super().__init__()
        self.alpha, self.p = alpha, p

    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha = torch.full((len(x),), self.alpha, device=x.device)
        area = torch.distributions.Beta(alpha, alpha, validate_args=False).sample() * random_mask(self.p, x)
        partner = torch.randperm(len(x), device=x.device)
        inside = _span(x.shape[2], area.sqrt())[:, :, None] & _span(x.shape[3], area.sqrt())[:, None]  # (B, F, T)
        share = inside.float().mean((1, 2))[:, None]  # of the other clip
        mixed = torch.where(inside[:, None], x[partner], x)
        extent = torch.where(share[:, 0] > 0, torch.maximum(extent, extent[partner]), extent)
        return mixed, extent, torch.lerp(targets, targets[partner], share)


def _span(size: int, lengths: Tensor) -> Tensor:
    """Returns (B, size): True along a span of these shares (B,) of the axis, around a random place."""
    centre = torch.rand(len(lengths), device=lengths.device) * size
    half = lengths * size / 2
    position = torch.arange(size, device=lengths.device) + 0.5
    return (position >= (centre - half)[:, None]) & (position < (centre + half)[:, None])


def build(*, alpha: PositiveFloat = 1.0, p: Share = 1.0) -> CutMix:
    """`p` is the share of clips that are mixed."""
    return CutMix(alpha, p)
