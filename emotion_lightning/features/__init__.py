"""Features: one file each, waveforms → what a network sees. The same module fills the cache and runs in the step.

Every feature is batched and runs on any device. Clips of unequal length come padded with zeros behind, with their
lengths; a clip's feature is the same alone as in any batch.
"""

from abc import abstractmethod

import torch
from torch import Tensor, nn


class Feature(nn.Module):
    """`forward` gives what the cache stores; `present` turns that into what the network sees."""

    is_picture = False
    """A picture may be resized and is normalised by channel, any other feature by channel and band."""

    @abstractmethod
    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, samples) zero-padded waveforms and their lengths (B,) in samples → the stored form (B, C, F, T), the same
        F and T for every clip, and the share (B,) of the time axis that holds the clip, 0…1."""

    def present(self, stored: Tensor) -> Tensor:
        """Stored (B, C, F, T) → float (B, C', F, T)."""
        return stored.float()


def valid_frames(valid: Tensor, frames: int) -> Tensor:
    """(B, frames) bool: which frames hold the clip, from the share (B,) of the time axis that does."""
    return torch.arange(frames, device=valid.device) < (valid[:, None] * frames).round()


def fit_frames(x: Tensor, counts: Tensor, frames: int, silence: Tensor) -> tuple[Tensor, Tensor]:
    """(B, F, T) with `counts` valid frames each → (B, F, frames), cut or filled behind, and the share that is valid.

    `silence` (F,) is the frame to fill with: a log-mel's floor, never 0 dB, which would be its loudest level.
    """
    x = x[..., :frames]
    x = nn.functional.pad(x, (0, frames - x.shape[-1]))
    behind = torch.arange(frames, device=x.device) >= counts[:, None]  # (B, frames)
    return torch.where(behind[:, None], silence[None, :, None], x), (counts / frames).clamp(max=1.0)
