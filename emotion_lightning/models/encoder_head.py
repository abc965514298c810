"""A head on the frozen states of a speech encoder: a learned mix of layers, one linear layer, attentive statistics pooling.

For `features.name=encoder` with `features.pool=frames`: each layer is a channel. Source: the mix of layers is that of SUPERB
(arXiv 2105.01051), the pooling that of Okabe et al. (arXiv 1803.10963).
"""

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from emotion_lightning.config.ranges import Dropout
from emotion_lightning.features import valid_frames
from emotion_lightning.models import Network
from emotion_lightning.models._attentive_statistics import AttentiveStatistics


class EncoderHead(Network):
    """Maps (B, layers, width, T) to logits."""

    def __init__(self, layers: int, width: int, classes: int, hidden: int, heads: int, dropout: float):
        super().__init__()
        self.mix = nn.Parameter(torch.zeros(layers))
        self.project = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout))
        self.pool = AttentiveStatistics(hidden, heads)
        pooled = 2 * heads * hidden
        self.classify = nn.Sequential(nn.BatchNorm1d(pooled), nn.Dropout(dropout), nn.Linear(pooled, classes))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        mixed = torch.einsum("blwt,l->btw", x, self.mix.softmax(0).to(x.dtype))
        return self.classify(self.pool(self.project(mixed), valid_frames(valid, x.shape[3])))


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    hidden: PositiveInt = 256,
    heads: PositiveInt = 4,
    dropout: Dropout = 0.5,
) -> EncoderHead:
    """`hidden` is the width after the linear layer, `heads` the number of weightings of time."""
    return EncoderHead(shape[0], shape[1], classes, hidden, heads, dropout)
