"""Attention over rectangles of the feature map: a small CNN whose head sees areas of several sizes.

Source: arXiv 2102.01813. Known from it: two parallel convolutions of 10×2 and 2×8 with 16 channels each, 3×3 convolutions of
32, 48, 64 and 80 channels with batch norm, and attention over all rectangles up to 3×3, whose key is the mean and whose value
is the sum over the rectangle. Ours: 10 bands × 2 frames and 2 bands × 8 frames, max pooling after the first three
convolutions, one learned query for each head, and whole clips with a mask in place of segments of 2 s. 0.1 M parameters.
"""

from collections.abc import Iterator
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

from emotion_lightning.config.ranges import Dropout, NotEmpty
from emotion_lightning.errors import UserError
from emotion_lightning.models import Network
from emotion_lightning.models._masked import MaskedConv, frame_counts, frame_mask, masked


class AreaAttention(nn.Module):
    """Pools a feature map by attention over all rectangles of up to `max_height` bands and `max_width` frames."""

    def __init__(self, width: int, max_height: int, max_width: int, heads: int):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(heads, width) / width**0.5)
        self.max_height, self.max_width = max_height, max_width

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """Maps (B, D, F, T) to (B, D). Each head weights its share of the channels.

        Rectangles that reach beyond the first `counts` (B,) frames of the clip have no weight.
        """
        x = x.float()
        product = torch.einsum("bdft,hd->bhft", x, self.queries) / x.shape[1] ** 0.5
        scores = []
        for height, length in self._sizes(x):
            # the product with the mean of an area is the mean of the products
            score = avg_pool2d(product, (height, length), stride=1)
            inside = frame_mask(counts - length + 1, score.shape[3])[:, None, None]
            scores.append(score.masked_fill(~inside, -torch.inf))
        areas = torch.cat([score.flatten(2) for score in scores], 2).softmax(2)  # (B, heads, areas)
        weight = torch.zeros_like(product)  # of each position: the sum over the areas that it belongs to
        for score, part in zip(scores, areas.split([score[0, 0].numel() for score in scores], 2), strict=True):
            high, long = (a - b for a, b in zip(x.shape[2:], score.shape[2:], strict=True))
            spread = pad(part.view_as(score), (long, long, high, high))
            # the sum as mean times size: ONNX has no pooling with another divisor
            weight = weight + avg_pool2d(spread, (high + 1, long + 1), stride=1) * ((high + 1) * (long + 1))
        values = x.view(len(x), len(self.queries), -1, *x.shape[2:])  # (B, heads, D / heads, F, T)
        return torch.einsum("bhft,bhdft->bhd", weight, values).flatten(1)

    def _sizes(self, x: Tensor) -> Iterator[tuple[int, int]]:
        for height in range(1, min(self.max_height, x.shape[2]) + 1):
            for length in range(1, min(self.max_width, x.shape[3]) + 1):
                yield height, length


class AreaAttentionCNN(Network):
    """Maps (B, C, F, T) to logits."""

    def __init__(
        self,
        channels: int,
        classes: int,
        widths: tuple[int, ...],
        max_height: int,
        max_width: int,
        heads: int,
        dropout: float,
    ):
        super().__init__()
        self.tall = MaskedConv(channels, 16, (10, 2), pool=(2, 2))
        self.long = MaskedConv(channels, 16, (2, 8), pool=(2, 2))
        self.layers = nn.ModuleList()
        for number, (before, after) in enumerate(zip((32, *widths), widths, strict=False)):
            self.layers.append(MaskedConv(before, after, pool=(2, 2) if number < 2 else (1, 1)))
        self.attention = AreaAttention(widths[-1], max_height, max_width, heads)
        self.head = nn.Sequential(nn.LayerNorm(widths[-1]), nn.Dropout(dropout), nn.Linear(widths[-1], classes))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        counts = frame_counts(valid, x.shape[3])
        x = masked(x, counts)
        tall, _ = self.tall(x, counts)
        long, counts = self.long(x, counts)
        x = torch.cat([tall, long], 1)
        for layer in self.layers:
            x, counts = layer(x, counts)
        return self.head(self.attention(x, counts))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        first = [*self.tall.parameters(), *self.long.parameters()]
        last = [*self.attention.parameters(), *self.head.parameters()]
        return [first, *(list(layer.parameters()) for layer in self.layers), last]


Side = Annotated[int, Field(ge=1, le=16)]


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    widths: Annotated[tuple[PositiveInt, ...], NotEmpty] = (32, 48, 64, 80),
    max_height: Side = 3,
    max_width: Side = 3,
    heads: Annotated[int, Field(ge=1, le=64)] = 4,
    dropout: Dropout = 0.3,
) -> AreaAttentionCNN:
    """`widths` are the channels of the 3×3 convolutions; areas have up to `max_height` bands and `max_width` frames.

    Raises: UserError where the heads do not divide the last width.
    """
    if widths[-1] % heads:
        raise UserError(f"model.heads: {heads} heads cannot divide {widths[-1]} channels")
    return AreaAttentionCNN(shape[0], classes, widths, max_height, max_width, heads, dropout)
