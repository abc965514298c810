"""A small residual network on log-mel with its natural time axis, and mean and standard deviation over time before the head.

Source: arXiv 2108.02510, whose ResNet pools mean and deviation over time, so that clips of any length fit. Ours: one basic
block a stage, a stem with stride 2, and a time axis that is strided less than the frequency axis (8 and 16 times with four
stages). With `per_clip`, each band is first normalised over the frames of its own clip, which removes the level and the
channel of a recording. 1.2 M parameters with the default widths.
"""

from typing import Annotated

from pydantic import PositiveInt
from torch import Tensor, nn

from emotion_lightning.config.ranges import Dropout, NotEmpty
from emotion_lightning.models import Network
from emotion_lightning.models._masked import frame_counts, masked, strided, time_mean, time_statistics

STRIDES = ((2, 1), (2, 2), (2, 2), (1, 1))  # (bands, frames) of each stage; further stages have the last one


class Block(nn.Module):
    """Two convolutions and a shortcut, as in ResNet18; frames after the end of a clip stay zero."""

    def __init__(self, before: int, after: int, stride: tuple[int, int]):
        super().__init__()
        self.stride = stride[1]
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if before != after or stride != (1, 1):
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False),
                nn.BatchNorm2d(after),
            )

    def forward(self, x: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Maps masked (B, C, F, T) and the frames (B,) of each clip to the same after the stride."""
        counts = strided(counts, self.stride)
        y = masked(self.norm1(self.conv1(x)).relu(), counts)
        y = self.norm2(self.conv2(y)) + self.shortcut(x)
        return masked(y.relu(), counts), counts


class ResNetStats(Network):
    """Maps (B, C, F, T) to logits."""

    def __init__(self, channels: int, classes: int, widths: tuple[int, ...], per_clip: bool, dropout: float):
        super().__init__()
        self.per_clip = per_clip
        self.stem = nn.Conv2d(channels, widths[0], 3, 2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(widths[0])
        strides = (*STRIDES, *[STRIDES[-1]] * len(widths))
        self.stages = nn.ModuleList(
            Block(before, after, stride)
            for before, after, stride in zip((widths[0], *widths), widths, strides, strict=False)
        )
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * widths[-1], classes))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        counts = frame_counts(valid, x.shape[3])
        x = masked(_normalised(x, counts) if self.per_clip else x, counts)
        counts = strided(counts, 2)
        x = masked(self.norm(self.stem(x)).relu(), counts)
        for stage in self.stages:
            x, counts = stage(x, counts)
        return self.head(time_statistics(x.mean(2), counts))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        stem = [*self.stem.parameters(), *self.norm.parameters()]
        return [stem, *(list(stage.parameters()) for stage in self.stages), list(self.head.parameters())]


def _normalised(x: Tensor, counts: Tensor) -> Tensor:
    """Returns (B, C, F, T) whose bands have mean 0 and deviation 1 over the frames of each clip."""
    mean = time_mean(x.flatten(1, 2), counts).view(*x.shape[:3], 1)
    x = x - mean
    variance = time_mean(x.square().flatten(1, 2), counts).view(*x.shape[:3], 1)
    return x / (variance + 1e-3).sqrt()  # a band that is constant over the clip stays small


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    widths: Annotated[tuple[PositiveInt, ...], NotEmpty] = (32, 64, 128, 256),
    per_clip: bool = True,
    dropout: Dropout = 0.3,
) -> ResNetStats:
    """`widths` are the channels of the stages. `per_clip` normalises each band over the frames of its own clip."""
    return ResNetStats(shape[0], classes, widths, per_clip, dropout)
