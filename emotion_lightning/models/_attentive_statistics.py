"""Attentive statistics pooling: weighted mean and deviation over time, for several heads.

Source: Okabe et al. 2018, arXiv 1803.10963.
"""

import torch
from torch import Tensor, nn

HIDDEN = 64  # of the network that gives the weights


class AttentiveStatistics(nn.Module):
    """Maps frames (B, T, width) to (B, 2 · heads · width). Frames outside the mask have no weight."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, heads))

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """Pools (B, T, width) over the True frames of the mask (B, T); the first frame counts where none is True."""
        with torch.autocast(frames.device.type, enabled=False):  # the variance is a difference of large numbers
            frames = frames.float()
            mask = mask | (~mask.any(1, keepdim=True) & (torch.arange(mask.shape[1], device=mask.device) == 0))
            weights = self.score(frames).masked_fill(~mask[..., None], float("-inf")).softmax(1)  # (B, T, heads)
            mean = torch.einsum("bth,btw->bhw", weights, frames)
            square = torch.einsum("bth,btw->bhw", weights, frames.square())
            deviation = (square - mean.square()).clamp(min=1e-5).sqrt()
        return torch.cat([mean, deviation], 1).flatten(1)
