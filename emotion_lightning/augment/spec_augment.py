"""SpecAugment (Park et al. 2019, arXiv 1904.08779) without time warping: bands and frames of a clip are set to the
batch's mean. Two masks each of at most 20 bands and 20 frames, as in arXiv 2108.02510."""

import torch
from torch import Tensor
from torchaudio.functional import mask_along_axis_iid

from emotion_lightning.augment import Augmentation


class SpecAugment(Augmentation):
    """(B, C, F, T) → the same; every clip draws its own masks, the same for its channels."""

    def __init__(self, masks: int, max_bands: int, max_frames: int):
        super().__init__()
        self.masks, self.max_bands, self.max_frames = masks, max_bands, max_frames

    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        kept = torch.ones_like(x[:, :1])
        for _ in range(self.masks):
            kept = mask_along_axis_iid(kept, self.max_bands, 0.0, axis=2)
            kept = mask_along_axis_iid(kept, self.max_frames, 0.0, axis=3)
        return torch.where(kept > 0, x, x.mean()), extent, targets


def build(*, masks: int = 2, max_bands: int = 20, max_frames: int = 20) -> SpecAugment:
    return SpecAugment(masks, max_bands, max_frames)
