"""Shared by models with a time axis of any length: masks of the clip's own frames, masked convolutions, pooling over time.

Frames after the end of a clip are zero before each convolution, as the padding of a convolution is. So more padding after a
clip does not change its logits.
"""

import torch
from torch import Tensor, nn


def frame_counts(valid: Tensor, frames: int) -> Tensor:
    """Returns the number of frames of each clip (B,), at least 1, from the valid share (B,) of `frames` frames."""
    return (valid * frames).round().long().clamp(min=1)


def strided(counts: Tensor, stride: int) -> Tensor:
    """Returns the number of frames (B,) of each clip after a stride in time."""
    return torch.div(counts + stride - 1, stride, rounding_mode="floor")


def frame_mask(counts: Tensor, frames: int) -> Tensor:
    """Returns the mask (B, frames) of the first `counts` (B,) frames of each clip."""
    return torch.arange(frames, device=counts.device) < counts[:, None]


def masked(x: Tensor, counts: Tensor) -> Tensor:
    """Returns (B, C, F, T) with zeros after the first `counts` (B,) frames of each clip."""
    return x * frame_mask(counts, x.shape[3])[:, None, None].to(x.dtype)


def time_mean(x: Tensor, counts: Tensor) -> Tensor:
    """Returns the mean (B, C) over the first `counts` (B,) frames of each clip in (B, C, T), in full precision."""
    return (x.float() * frame_mask(counts, x.shape[2])[:, None]).sum(2) / counts[:, None]


def time_statistics(x: Tensor, counts: Tensor) -> Tensor:
    """Returns mean and standard deviation (B, 2·C) over the first `counts` (B,) frames of each clip in (B, C, T)."""
    mean = time_mean(x, counts)
    variance = time_mean((x.float() - mean[:, :, None]).square(), counts)
    return torch.cat([mean, (variance + 1e-5).sqrt()], 1)  # the root of zero has no gradient


class MaskedConv(nn.Module):
    """Convolution, batch norm, ReLU and max pooling; frames after the end of a clip stay zero."""

    def __init__(self, before: int, after: int, kernel: tuple[int, int] = (3, 3), pool: tuple[int, int] = (1, 1)):
        """`kernel` and `pool` are (bands, frames)."""
        super().__init__()
        bands, frames = kernel
        sides = ((frames - 1) // 2, frames // 2, (bands - 1) // 2, bands // 2)
        self.pad = nn.ZeroPad2d(sides) if bands % 2 == 0 or frames % 2 == 0 else nn.Identity()
        own = (0, 0) if isinstance(self.pad, nn.ZeroPad2d) else (bands // 2, frames // 2)
        self.conv = nn.Conv2d(before, after, kernel, padding=own, bias=False)
        self.norm = nn.BatchNorm2d(after)
        # ceil_mode: an odd last frame counts, whether padding follows it or not
        self.pool = nn.MaxPool2d(pool, ceil_mode=True) if pool != (1, 1) else nn.Identity()
        self.stride = pool[1]

    def forward(self, x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Maps masked (B, C, F, T) and the frames (B,) of each clip to the same after pooling."""
        x = masked(self.norm(self.conv(self.pad(x))).relu(), counts)
        return self.pool(x), strided(counts, self.stride)
