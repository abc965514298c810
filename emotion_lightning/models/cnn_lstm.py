"""Convolutions over bands and frames, then a bidirectional LSTM over the frames: the hybrid that DeepEmoNet asks for.

Source: an open question of arXiv 2509.00025; the network is ours. Each block is a 3×3 convolution, batch norm, ReLU and max
pooling, which halves the bands, and in the first blocks the frames too. The channels and bands of a frame form one
vector for the LSTM of `models/lstm.py`. 0.1 M parameters by default with 64 bands.
"""

from typing import Annotated

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from emotion_lightning.config.ranges import Dropout, NotEmpty
from emotion_lightning.models import Network
from emotion_lightning.models._masked import MaskedConv, frame_counts, masked
from emotion_lightning.models.lstm import LSTM, Pool


class CNNLSTM(Network):
    """Maps (B, C, F, T) to logits."""

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        widths: tuple[int, ...],
        halvings: int,
        hidden: int,
        layers: int,
        dropout: float,
        pool: Pool,
    ):
        super().__init__()
        channels, bands, _ = shape
        self.blocks = nn.ModuleList()
        for number, width in enumerate(widths):
            self.blocks.append(MaskedConv(channels, width, pool=(2, 2 if number < halvings else 1)))
            channels, bands = width, (bands + 1) // 2
        self.recurrent = LSTM(channels * bands, classes, hidden, layers, dropout, pool)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        counts = frame_counts(valid, x.shape[3])
        x = masked(x, counts)
        for block in self.blocks:
            x, counts = block(x, counts)
        return self.recurrent.of_frames(x, counts)

    def layer_groups(self) -> list[list[nn.Parameter]]:
        return [*(list(block.parameters()) for block in self.blocks), *self.recurrent.layer_groups()]


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    widths: Annotated[tuple[PositiveInt, ...], NotEmpty] = (16, 32, 32, 32),
    halvings: Annotated[int, Field(ge=0, le=8)] = 2,
    hidden: PositiveInt = 64,
    layers: PositiveInt = 1,
    dropout: Dropout = 0.3,
    pool: Pool = "mean",
) -> CNNLSTM:
    """`widths` are the channels of the blocks; the first `halvings` blocks halve the number of frames as well as the bands."""
    return CNNLSTM(shape, classes, widths, halvings, hidden, layers, dropout, pool)
