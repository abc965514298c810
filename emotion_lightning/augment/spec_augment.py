"""Sets random bands and frames of each clip to the mean of the band over the batch: SpecAugment without time warping.

Source: Park et al. 2019, arXiv 1904.08779. The defaults, two masks each of at most 20 bands and 20 frames, are those of
arXiv 2108.02510. Masks of frames lie within the clip, frames after its end stay as they are, and the mean is that of the
frames of the clips.
"""

import torch
from pydantic import NonNegativeInt
from torch import Tensor

from emotion_lightning.augment import Augmentation
from emotion_lightning.features import valid_frames


class SpecAugment(Augmentation):
    """Masks spectrograms (B, C, F, T). Every clip has its own masks, the same for all its channels."""

    def __init__(self, masks: int, max_bands: int, max_frames: int):
        super().__init__()
        self.masks, self.max_bands, self.max_frames = masks, max_bands, max_frames

    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        is_valid = valid_frames(extent, x.shape[3])  # (B, T)
        bands = self._drawn(torch.full_like(extent, x.shape[2]), self.max_bands, x.shape[2])  # (B, F)
        frames = self._drawn(is_valid.sum(1), self.max_frames, x.shape[3])  # (B, T)
        is_masked = (bands[:, :, None] | frames[:, None, :]) & is_valid[:, None]  # (B, F, T)
        # for each band: the first MFCC lies far from the others, so one mean over all would be no silence but a jump
        weight = is_valid[:, None, None].to(x.dtype)
        mean = (x * weight).sum((0, 3), keepdim=True) / weight.sum().clamp(min=1)
        return torch.where(is_masked[:, None], mean, x), extent, targets

    def _drawn(self, lengths: Tensor, longest: int, size: int) -> Tensor:
        """Returns (B, size): the union of the masks of each clip, on the first `lengths` (B,) positions of an axis."""
        draws = torch.rand(2, len(lengths), self.masks, device=lengths.device)
        lengths = lengths[:, None]
        width = (draws[0] * (lengths.clamp(max=longest) + 1)).floor()  # 0…longest
        start = (draws[1] * (lengths - width + 1)).floor()
        position = torch.arange(size, device=lengths.device)[:, None, None]  # (size, 1, 1)
        return ((position >= start) & (position < start + width)).any(2).T


def build(
    *, masks: NonNegativeInt = 2, max_bands: NonNegativeInt = 20, max_frames: NonNegativeInt = 20
) -> SpecAugment:
    """`masks` is the number of masks on each axis; their widths are drawn from 0…`max_bands` and 0…`max_frames`."""
    return SpecAugment(masks, max_bands, max_frames)
