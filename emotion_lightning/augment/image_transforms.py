"""Rotates and zooms spectrogram pictures and changes brightness and contrast, each with probability p for each clip.

These are DeepEmoNet's transforms (fastai's aug_transforms without flip and warp). Pictures are mirrored at the border.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from emotion_lightning.augment import Augmentation, random_mask, uniform
from emotion_lightning.config.ranges import Share


class ImageTransforms(Augmentation):
    """Transforms pictures (B, C, H, W) with values 0…1."""

    def __init__(self, max_rotate: float, max_zoom: float, max_lighting: float, p: float):
        super().__init__()
        self.max_rotate, self.max_zoom, self.max_lighting, self.p = max_rotate, max_zoom, max_lighting, p

    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return change_light(warp(x, *self._draw_warp(x)), *self._draw_light(x)), extent, targets

    def _draw_warp(self, x: Tensor) -> tuple[Tensor, Tensor]:
        degrees = uniform(-self.max_rotate, self.max_rotate, x) * random_mask(self.p, x)
        zoom = 1 + uniform(0, self.max_zoom - 1, x) * random_mask(self.p, x)
        return degrees, zoom

    def _draw_light(self, x: Tensor) -> tuple[Tensor, Tensor]:
        half = self.max_lighting / 2
        brightness = 0.5 + uniform(-half, half, x) * random_mask(self.p, x)
        limit = -math.log(1 - self.max_lighting)
        contrast = (uniform(-limit, limit, x) * random_mask(self.p, x)).exp()
        return brightness, contrast


def warp(x: Tensor, degrees: Tensor, zoom: Tensor) -> Tensor:
    """Rotates each picture (C, H, W) about its centre by `degrees` (B,) and enlarges it by `zoom` (B,)."""
    height, width = x.shape[-2:]
    cos, sin = torch.cos(degrees.deg2rad()) / zoom, torch.sin(degrees.deg2rad()) / zoom
    zero = torch.zeros_like(cos)
    # grid coordinates run from -1 to 1 on both axes, so a rotation in pixels needs the aspect ratio
    matrix = torch.stack([cos, -sin * height / width, zero, sin * width / height, cos, zero], 1).view(-1, 2, 3)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def change_light(x: Tensor, brightness: Tensor, contrast: Tensor) -> Tensor:
    """Shifts the log-odds of the pixels by those of `brightness` (B,) and scales them by `contrast` (B,).

    A brightness of 0.5 and a contrast of 1 change nothing.
    """
    odds = torch.logit(x.clamp(1e-3, 1 - 1e-3)) + torch.logit(brightness)[:, None, None, None]
    return torch.sigmoid(odds * contrast[:, None, None, None])


def build(
    *,
    max_rotate: Annotated[float, Field(ge=0, le=180)] = 5.0,
    max_zoom: Annotated[float, Field(ge=1, le=10)] = 1.05,
    max_lighting: Annotated[float, Field(ge=0, lt=0.5)] = 0.1,
    p: Share = 0.75,
) -> ImageTransforms:
    """`max_rotate` is in degrees, `max_zoom` a factor ≥ 1, `max_lighting` a share of the range of values."""
    return ImageTransforms(max_rotate, max_zoom, max_lighting, p)
