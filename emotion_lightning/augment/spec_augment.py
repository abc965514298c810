"""Sets random bands and frames of each clip to the mean of the band over the batch: SpecAugment without time warping.

Source: Park et al. 2019, arXiv 1904.08779. The defaults, two masks each of at most 20 bands and 20 frames, are those of
arXiv 2108.02510.
"""

import torch
from pydantic import NonNegativeInt
from torch import Tensor
from torchaudio.functional import mask_along_axis_iid

from emotion_lightning.augment import Augmentation


class SpecAugment(Augmentation):
    """Masks spectrograms (B, C, F, T). Every clip has its own masks, the same for all its channels."""

    def __init__(self, masks: int, max_bands: int, max_frames: int):
        super().__init__()
        self.masks, self.max_bands, self.max_frames = masks, max_bands, max_frames

    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        kept = torch.ones_like(x[:, :1])
        for _ in range(self.masks):
            kept = mask_along_axis_iid(kept, self.max_bands, 0.0, axis=2)
            kept = mask_along_axis_iid(kept, self.max_frames, 0.0, axis=3)
        # for each band: the first MFCC lies far from the others, so one mean over all would be no silence but a jump
        return torch.where(kept > 0, x, x.mean((0, 3), keepdim=True)), extent, targets


def build(
    *, masks: NonNegativeInt = 2, max_bands: NonNegativeInt = 20, max_frames: NonNegativeInt = 20
) -> SpecAugment:
    return SpecAugment(masks, max_bands, max_frames)
