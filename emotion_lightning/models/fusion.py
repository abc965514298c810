"""Fuses a speech encoder with hand-made features by cross-attention, after HuMP-CAT (arXiv 2501.10408).

For `features.name=joined`. The bands of the first feature, the encoder's states, give the queries. Each further feature, such as
MFCC and prosody, gives keys and values of one attention. The states and what the attentions found are then pooled over time. The
paper has HuBERT; a width of 256 and four heads are our choice.
"""

from itertools import accumulate
from typing import Annotated

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from emotion_lightning.config.ranges import Dropout, NotEmpty
from emotion_lightning.errors import UserError
from emotion_lightning.features import valid_frames
from emotion_lightning.models import Network
from emotion_lightning.models._attentive_statistics import AttentiveStatistics


class Fusion(Network):
    """Maps (B, C, F, T), whose channels are averaged and whose bands are those of several features, to logits."""

    def __init__(self, bands: tuple[int, ...], classes: int, width: int, heads: int, dropout: float):
        super().__init__()
        self.bands = bands
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Linear(count, width), nn.LayerNorm(width), nn.Dropout(dropout)) for count in bands
        )
        self.attentions = nn.ModuleList(
            nn.MultiheadAttention(width, heads, dropout=dropout / 2, batch_first=True) for _ in bands[1:]
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in bands[1:])
        self.pool = AttentiveStatistics(width * len(bands), 1)
        pooled = 2 * width * len(bands)
        self.classify = nn.Sequential(nn.BatchNorm1d(pooled), nn.Dropout(dropout), nn.Linear(pooled, classes))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        mask = valid_frames(valid, x.shape[3])
        mask = mask | (torch.arange(mask.shape[1], device=mask.device) == 0)  # attention to nothing is not a number
        features = x.mean(1).transpose(1, 2).split(self.bands, 2)  # each (B, T, its bands)
        query, *others = (project(part) for project, part in zip(self.projections, features, strict=True))
        found = [query]
        for attention, norm, other in zip(self.attentions, self.norms, others, strict=True):
            values, _ = attention(query, other, other, key_padding_mask=~mask, need_weights=False)
            found.append(norm(query + values))
        return self.classify(self.pool(torch.cat(found, 2), mask))


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    bands: Annotated[tuple[PositiveInt, ...], NotEmpty] = (512, 20, 6),
    width: PositiveInt = 256,
    heads: PositiveInt = 4,
    dropout: Dropout = 0.3,
) -> Fusion:
    """`bands` are the numbers of bands of the joined features, in their order; the defaults are Whisper base, MFCC and prosody.

    Raises: UserError for bands that are not those of the features, and for a width that the heads do not divide.
    """
    if sum(bands) != shape[1]:
        ends = ", ".join(map(str, accumulate(bands)))
        raise UserError(f"model.bands: they end at {ends}, and the joined features have {shape[1]} bands")
    if width % heads:
        raise UserError(f"model.heads: a width of {width} cannot be divided among {heads} heads")
    return Fusion(bands, classes, width, heads, dropout)
