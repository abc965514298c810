"""The paper's transforms of spectrogram pictures (fastai's aug_transforms without flip and warp): rotation, zoom,
brightness and contrast, each drawn per clip with probability p; mirrored at the border."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from emotion_lightning.augment import Augmentation, chance, uniform


class ImageTransforms(Augmentation):
    """(B, C, H, W) in 0…1 → the same."""

    def __init__(self, max_rotate: float, max_zoom: float, max_lighting: float, p: float):
        super().__init__()
        self.max_rotate, self.max_zoom, self.max_lighting, self.p = max_rotate, max_zoom, max_lighting, p

    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return light(warp(x, *self._turns(x)), *self._lights(x)), extent, targets

    def _turns(self, x: Tensor) -> tuple[Tensor, Tensor]:
        degrees = uniform(-self.max_rotate, self.max_rotate, x) * chance(self.p, x)
        zoom = 1 + uniform(0, self.max_zoom - 1, x) * chance(self.p, x)
        return degrees, zoom

    def _lights(self, x: Tensor) -> tuple[Tensor, Tensor]:
        half = self.max_lighting / 2
        brightness = 0.5 + uniform(-half, half, x) * chance(self.p, x)
        reach = -math.log(1 - self.max_lighting)
        contrast = (uniform(-reach, reach, x) * chance(self.p, x)).exp()
        return brightness, contrast


def warp(x: Tensor, degrees: Tensor, zoom: Tensor) -> Tensor:
    """Turns each picture about its centre by `degrees` (B,) and enlarges it by `zoom` (B,)."""
    height, width = x.shape[-2:]
    cos, sin = torch.cos(degrees.deg2rad()) / zoom, torch.sin(degrees.deg2rad()) / zoom
    zero = torch.zeros_like(cos)
    # grid coordinates run from -1 to 1 on both axes, so a turn in pixels needs the picture's aspect
    matrix = torch.stack([cos, -sin * height / width, zero, sin * width / height, cos, zero], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def light(x: Tensor, brightness: Tensor, contrast: Tensor) -> Tensor:
    """Shifts each picture's log-odds by those of `brightness` (B,), 0.5 changing nothing; scales them by `contrast` (B,)."""
    odds = torch.logit(x.clamp(1e-3, 1 - 1e-3)) + torch.logit(brightness)[:, None, None, None]
    return torch.sigmoid(odds * contrast[:, None, None, None])


def build(
    *, max_rotate: float = 5.0, max_zoom: float = 1.05, max_lighting: float = 0.1, p: float = 0.75
) -> ImageTransforms:
    """`max_rotate` in degrees, `max_zoom` as a factor ≥ 1, `max_lighting` as a share of the range."""
    return ImageTransforms(max_rotate, max_zoom, max_lighting, p)
