"""The log-mel as a picture of fixed size, as DeepEmoNet's ResNet sees it: dB range of the clip → 0…255, the time axis
stretched so that every clip fills the width (duration is normalised away), low frequencies at the bottom.

Stored as one byte a pixel, as the author's PNG files were; the colour map is looked up when the picture is shown.
"""

from typing import Literal

import torch
from torch import Tensor

from emotion_lightning.features import Feature
from emotion_lightning.features.log_mel import LogMel

Colour = Literal["magma", "viridis", "grey"]


def stretch_matrix(lengths: Tensor, longest: int, size: int) -> Tensor:
    """(B, longest, size): `x @ matrix` resizes the first lengths[b] columns of x to `size`, each by its own factor.

    Triangle filter, widened where it shrinks: what torch's bilinear interpolation with antialias does, but batched
    over clips of unequal length.
    """
    scale = lengths[:, None, None] / size  # source columns a target column
    width = scale.clamp(min=1.0)
    centres = (torch.arange(size, device=lengths.device)[None, None, :] + 0.5) * scale
    columns = torch.arange(longest, device=lengths.device)[None, :, None] + 0.5
    weights = (1 - (columns - centres).abs() / width).clamp(min=0)
    weights = weights * (columns < lengths[:, None, None])
    return weights / weights.sum(dim=1, keepdim=True)


class Picture(Feature):
    """(B, samples) → (B, 1, height, width) uint8, shown as (B, 3, height, width) float 0…1."""

    is_picture = True

    def __init__(self, log_mel: LogMel, height: int, width: int, colour: Colour):
        super().__init__()
        self.log_mel, self.width = log_mel, width
        bands = torch.tensor([log_mel.bands])
        self.register_buffer("rows", stretch_matrix(bands, int(bands), height)[0])  # (bands, height)
        self.register_buffer("palette", _palette(colour), persistent=False)  # (256, 3)

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        spectrogram, counts = self.log_mel.spectrogram(waves, lengths)  # (B, bands, T)
        columns = stretch_matrix(counts, spectrogram.shape[-1], self.width)  # (B, T, width)
        x = self.get_buffer("rows").T.flip(0) @ (spectrogram @ columns)  # (B, height, width)
        levels = x.mul(255 / self.log_mel.range_db).add(255).clamp(0, 255).round().to(torch.uint8)
        return levels[:, None], torch.ones(len(x), device=x.device)

    def present(self, stored: Tensor) -> Tensor:
        coloured = self.get_buffer("palette")[stored[:, 0].long()]  # (B, height, width, 3)
        return coloured.permute(0, 3, 1, 2)  # channels last in memory already


def _palette(colour: Colour) -> Tensor:
    """(256, 3) RGB in 0…1: matplotlib's map, or three equal channels."""
    if colour == "grey":
        return torch.linspace(0, 1, 256)[:, None].expand(256, 3).contiguous()
    import matplotlib

    return torch.tensor(matplotlib.colormaps[colour](range(256))[:, :3], dtype=torch.float32)


def build(
    sample_rate: int,
    *,
    height: int = 256,
    width: int = 256,
    colour: Colour = "magma",
    bands: int = 128,
    n_fft: int = 512,
    hop: int = 128,
    range_db: float = 80.0,
    log: bool = True,
) -> Picture:
    """`height` and `width` in pixels; the other settings as in log_mel. A picture wider than high is cropped to a square."""
    return Picture(LogMel(sample_rate, bands, n_fft, hop, 1, range_db, log), height, width, colour)
