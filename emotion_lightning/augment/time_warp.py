"""Stretches the beginning of each clip and compresses its end, or the reverse: the time warping of SpecAugment.

Source: Park et al. 2019, arXiv 1904.08779. A frame of the clip, drawn at random, moves by up to `max_frames` frames. The two
parts beside it are stretched and compressed evenly, so the clip keeps its length.
"""

import torch
from pydantic import NonNegativeInt
from torch import Tensor

from emotion_lightning.augment import Augmentation, random_mask
from emotion_lightning.config.ranges import Share


class TimeWarp(Augmentation):
    """Warps spectrograms (B, C, F, T) in time. Frames after the end of a clip stay as they are."""

    def __init__(self, max_frames: int, p: float):
        super().__init__()
        self.max_frames, self.p = max_frames, p

    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        last = (extent * x.shape[-1]).round() - 1  # (B,) the last frame of each clip
        place = 1 + torch.rand_like(last) * (
            last - 2
        )  # the frame that moves; one frame at least is left on either side
        room = torch.minimum(place, last - place) - 1
        move = torch.minimum(room.clamp(min=0), torch.full_like(room, self.max_frames)) * random_mask(self.p, x)
        moved = place + move * (2 * torch.rand_like(last) - 1)
        return _resampled(x, _source(x.shape[-1], last, place, moved)), extent, targets


def _source(frames: int, last: Tensor, place: Tensor, moved: Tensor) -> Tensor:
    """Returns (B, frames): for each frame of the result, the frame of the clip that it shows."""
    time = torch.arange(frames, device=last.device, dtype=last.dtype).expand(len(last), -1)
    last, place, moved = (value[:, None] for value in (last, place, moved))
    before = time * place / moved
    after = place + (time - moved) * (last - place) / (last - moved)
    warped = torch.where(time < moved, before, after)
    return torch.where((last >= 3) & (time <= last), warped, time)


def _resampled(x: Tensor, position: Tensor) -> Tensor:
    """Returns (B, C, F, T) at these positions (B, T) of the time axis, with linear interpolation."""
    position = position.clamp(0, x.shape[-1] - 1)
    low = position.floor().long()
    high = (low + 1).clamp(max=x.shape[-1] - 1)
    at_low, at_high = (x.gather(3, index[:, None, None].expand(*x.shape[:3], -1)) for index in (low, high))
    return torch.lerp(at_low, at_high, (position - low)[:, None, None].to(x.dtype))


def build(*, max_frames: NonNegativeInt = 40, p: Share = 0.5) -> TimeWarp:
    """`p` is the share of clips that are warped. SpecAugment's own setting is 80 frames of 10 ms, for all clips."""
    return TimeWarp(max_frames, p)
