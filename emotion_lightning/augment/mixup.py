"""Blends each clip and its label with another clip of the batch: Mixup (Zhang et al. 2018, arXiv 1710.09412).

As in fastai and DeepEmoNet, the clip's own share is λ = max(b, 1 - b) with b ~ Beta(alpha, alpha), drawn for each clip.
"""

import torch
from pydantic import PositiveFloat
from torch import Tensor

from emotion_lightning.augment import Augmentation


class Mixup(Augmentation):
    """Blends inputs of any shape (B, …)."""

    stage = "batch"

    def __init__(self, alpha: float):
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alpha = torch.full(
            (len(x),), self.alpha, device=x.device
        )  # on the device, so that a GPU does not wait for the host
        share = torch.distributions.Beta(alpha, alpha, validate_args=False).sample()
        share = torch.maximum(share, 1 - share)
        partner = torch.randperm(len(x), device=x.device)
        share_x = share.view(-1, *[1] * (x.ndim - 1)).to(x.dtype)
        x = torch.lerp(x[partner], x, share_x)
        return x, torch.maximum(extent, extent[partner]), torch.lerp(targets[partner], targets, share[:, None])


def build(*, alpha: PositiveFloat = 0.4) -> Mixup:
    return Mixup(alpha)
