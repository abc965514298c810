"""The 1D-CNN with channel and spatial attention of arXiv 2507.03251, its facts read in the author's code.

Two convolutions (256 channels, kernel 7, no padding; ReLU, then batch norm), dropout 0.2, channel attention (mean and maximum
over time → one MLP 256→16→256 for both → sum → sigmoid), spatial attention (mean and maximum over channels → convolution,
kernel 7 → sigmoid), flatten, linear 64, ReLU, batch norm, linear. An L2 penalty of 1e-3 on the kernels and the hidden layer.

The paper feeds all MFCC of a clip as one channel of 2160 steps, so that a kernel runs over coefficients and from a frame's last
one to the next frame's first; 35 million of its weights are those behind the flattening.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from emotion_lightning.errors import UserError
from emotion_lightning.features import valid_frames
from emotion_lightning.models import Network


class ChannelAttention(nn.Module):
    def __init__(self, channels: int, reduction: int):
        super().__init__()
        hidden = max(1, channels // reduction)
        self.shared = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T) → the same, each channel weighed."""
        weight = self.shared(x.mean(2)) + self.shared(x.amax(2))  # (B, channels)
        return x * weight.sigmoid()[..., None]


class SpatialAttention(nn.Module):
    def __init__(self, kernel: int):
        super().__init__()
        self.conv = nn.Conv1d(2, 1, kernel, padding="same", bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, T) → the same, each step weighed."""
        weight: Tensor = self.conv(torch.stack([x.mean(1), x.amax(1)], 1))  # (B, 1, T)
        return x * weight.sigmoid()


class CNN1DAttention(Network):
    """(B, C, F, T) → logits; `as_row` strings all values out into one channel, else each band is a channel over time."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        width: int,
        kernel: int,
        attention: str,
        as_row: bool,
        l2: float,
    ):
        super().__init__()
        bands, frames = shape[0] * shape[1], shape[2]
        channels, steps = (1, bands * frames) if as_row else (bands, frames)
        self.as_row, self.l2 = as_row, l2
        layers: list[nn.Module] = []
        for before in (channels, width):
            layers += [nn.Conv1d(before, width, kernel), nn.ReLU(), nn.BatchNorm1d(width)]
        layers.append(nn.Dropout(0.2))
        if attention in ("both", "channel"):
            layers.append(ChannelAttention(width, 16))
        if attention in ("both", "spatial"):
            layers.append(SpatialAttention(7))
        self.body = nn.Sequential(*layers)
        if (left := steps - 2 * (kernel - 1)) < 1:
            raise UserError(f"model.kernel: two convolutions of {kernel} steps leave nothing of {steps}")
        self.hidden = nn.Linear(width * left, 64)
        self.head = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(64), nn.Linear(64, classes))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        if not self.as_row:  # as published the zeros behind a short clip are heard
            x = x * valid_frames(valid, x.shape[3])[:, None, None]
        x = x.flatten(1)[:, None] if self.as_row else x.flatten(1, 2)
        return self.head(self.hidden(self.body(x.contiguous()).flatten(1)))

    def penalty(self) -> Tensor:
        decayed = [m.weight for m in self.body if isinstance(m, nn.Conv1d)] + [self.hidden.weight]
        return self.l2 * torch.stack([weight.float().square().sum() for weight in decayed]).sum()

    def layer_groups(self) -> list[list[nn.Parameter]]:
        return [list(self.body.parameters()), [*self.hidden.parameters(), *self.head.parameters()]]


Count = Annotated[int, Field(ge=1)]


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    width: Count = 256,
    kernel: Count = 7,
    attention: Literal["both", "channel", "spatial", "none"] = "both",
    as_row: bool = True,
    l2: float = 1e-3,
) -> CNN1DAttention:
    """`width` channels of both convolutions; `l2`: factor on the sum of the squared weights."""
    return CNN1DAttention(shape, classes, width, kernel, attention, as_row, l2)
