"""The 1D-CNN with channel and spatial attention of arXiv 2507.03251, as in the author's code.

Two convolutions (256 channels, kernel 7, no padding; ReLU, then batch norm), dropout 0.2, channel attention (mean and maximum
over time → one MLP 256→16→256 for both → sum → sigmoid), spatial attention (mean and maximum over channels → convolution,
kernel 7 → sigmoid), flatten, linear 64, ReLU, batch norm, linear. An L2 penalty of 1e-3 on the kernels and the hidden layer.

The input of the paper is one channel of 2160 steps with all MFCC of a clip. So a kernel runs over the coefficients of a frame,
and from its last coefficient to the first one of the next frame. The layer after flattening has 35 million weights.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat
from torch import Tensor, nn

from emotion_lightning.errors import UserError
from emotion_lightning.features import valid_frames
from emotion_lightning.models import Network


class ChannelAttention(nn.Module):
    """Multiplies each channel by a weight."""

    def __init__(self, channels: int, reduction: int):
        super().__init__()
        hidden = max(1, channels // reduction)
        self.shared = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Weights the channels of (B, channels, T)."""
        weight = self.shared(x.mean(2)) + self.shared(x.amax(2))  # (B, channels)
        return x * weight.sigmoid()[..., None]


class SpatialAttention(nn.Module):
    """Multiplies each time step by a weight."""

    def __init__(self, kernel: int):
        super().__init__()
        self.conv = nn.Conv1d(2, 1, kernel, padding="same", bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Weights the time steps of (B, channels, T)."""
        weight: Tensor = self.conv(torch.stack([x.mean(1), x.amax(1)], 1))  # (B, 1, T)
        return x * weight.sigmoid()


class CNN1DAttention(Network):
    """Maps (B, C, F, T) to logits. With `as_row`, all values form one channel; without it, each band is a channel."""

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
        if (remaining := steps - 2 * (kernel - 1)) < 1:
            raise UserError(f"model.kernel: two convolutions with kernel {kernel} are too long for {steps} steps")
        self.hidden = nn.Linear(width * remaining, 64)
        self.head = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(64), nn.Linear(64, classes))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        if not self.as_row:  # the published network has no mask
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
    l2: NonNegativeFloat = 1e-3,
) -> CNN1DAttention:
    """`width` is the number of channels of both convolutions, `l2` the factor of the sum of squared weights."""
    return CNN1DAttention(shape, classes, width, kernel, attention, as_row, l2)
