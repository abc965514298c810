"""Draws the log-mel as a picture of fixed size, the input of DeepEmoNet's ResNet.

The dB range of the clip becomes 0…255. The time axis is stretched so that every clip fills the width, so duration is lost.
Low frequencies are at the bottom. A pixel is stored as one byte, as in the author's PNG files; `present` applies the colour
map.
"""

from typing import Literal

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor
from torch.nn import functional as F

from emotion_lightning.config.ranges import Pixels
from emotion_lightning.features import Feature
from emotion_lightning.features.log_mel import Hop, LogMel

Colour = Literal["magma", "viridis", "grey"]


class Picture(Feature):
    """Maps (B, samples) to (B, 1, height, width) uint8, and `present` maps this to (B, 3, height, width) float 0…1."""

    is_picture = True

    def __init__(self, log_mel: LogMel, height: int, width: int, colour: Colour):
        super().__init__()
        self.log_mel, self.shape = log_mel, (height, width)
        self.register_buffer("palette", _palette(colour), persistent=False)  # (256, 3)

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        spectrogram, counts = self.log_mel.spectrogram(waves, lengths)  # (B, bands, T)
        # clip by clip, because each has its own stretch factor
        pictures = [
            F.interpolate(one[None, None, :, :count], self.shape, mode="bilinear", antialias=True)
            for one, count in zip(spectrogram, counts.tolist(), strict=True)
        ]
        x = torch.cat(pictures).flip(2)  # (B, 1, height, width)
        levels = x.mul_(255 / self.log_mel.range_db).add_(255).clamp_(0, 255).round_().to(torch.uint8)
        return levels, torch.ones(len(x), device=x.device)

    def present(self, stored: Tensor) -> Tensor:
        coloured = self.get_buffer("palette")[stored[:, 0].long()]  # (B, height, width, 3)
        return coloured.permute(0, 3, 1, 2)  # channels last in memory already


def _palette(colour: Colour) -> Tensor:
    """Returns the colour map (256, 3), RGB in 0…1."""
    if colour == "grey":
        return torch.linspace(0, 1, 256)[:, None].expand(256, 3).contiguous()
    import matplotlib

    return torch.tensor(matplotlib.colormaps[colour](range(256))[:, :3], dtype=torch.float32)


def build(
    sample_rate: int,
    *,
    height: Pixels = 256,
    width: Pixels = 256,
    colour: Colour = "magma",
    bands: PositiveInt = 128,
    n_fft: PositiveInt = 512,
    hop: Hop = 128,
    range_db: PositiveFloat = 80.0,
    log: bool = True,
) -> Picture:
    """`height` and `width` are in pixels, the other settings as in log_mel. A wider picture is cropped to a square."""
    return Picture(LogMel(sample_rate, bands, n_fft, hop, 1, range_db, log), height, width, colour)
