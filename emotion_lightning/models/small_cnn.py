"""A small convolutional network for demonstrations and tests, with 0.1 M parameters at width 16.

Four 3×3 blocks that halve the picture, the mean over all positions, one linear layer.
"""

from itertools import pairwise
from typing import Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from emotion_lightning.config.ranges import Dropout
from emotion_lightning.models import Network


class SmallCNN(Network):
    """Maps (B, C, F, T) to logits."""

    def __init__(self, channels: int, classes: int, width: int, norm: str, dropout: float):
        super().__init__()
        widths = [channels, width, 2 * width, 4 * width, 4 * width]
        blocks: list[nn.Module] = []
        for before, after in pairwise(widths):
            normed = nn.BatchNorm2d(after) if norm == "batch" else nn.GroupNorm(4, after)
            blocks += [nn.Conv2d(before, after, 3, padding=1, bias=False), normed, nn.ReLU(), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*blocks)
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(dropout), nn.Linear(widths[-1], classes)
        )

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        return self.head(self.body(x))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        return [list(self.body.parameters()), list(self.head.parameters())]


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    width: PositiveInt = 16,
    norm: Literal["batch", "group"] = "batch",
    dropout: Dropout = 0.1,
) -> SmallCNN:
    """`width` is the number of channels of the first block."""
    return SmallCNN(shape[0], classes, width, norm, dropout)
