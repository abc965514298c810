"""DeepEmoNet's bidirectional LSTM over log-mel frames: the last states of both directions, dropout, one linear layer.

Frames after the end of a clip have no influence: the backward direction starts at the last frame of each clip. Each direction
is an LSTM over a dense batch; for the backward one, the frames of each clip are reversed. The result is that of packed
sequences, which take eight times as long on a CPU.
"""

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from emotion_lightning.config.ranges import Dropout
from emotion_lightning.models import Network
from emotion_lightning.models._masked import frame_counts, time_mean, time_statistics

Pool = Literal["last", "mean", "statistics"]


class LSTM(Network):
    """Maps (B, C, F, T) to logits. The channels and bands of a frame form one vector.

    With the pool `mean` or `statistics` (`models/lstm_pooled.py`), the head gets mean, or mean and standard deviation, of the
    states of all frames of the clip.
    """

    def __init__(self, inputs: int, classes: int, hidden: int, layers: int, dropout: float, pool: Pool = "last"):
        super().__init__()
        self.pool = pool
        widths = [inputs] + [2 * hidden] * (layers - 1)
        self.forwards = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in widths)
        self.backwards = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in widths)
        outputs = 4 * hidden if pool == "statistics" else 2 * hidden
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(outputs, classes))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        return self.of_frames(x, frame_counts(valid, x.shape[3]))

    def of_frames(self, x: Tensor, counts: Tensor) -> Tensor:
        """Returns logits for (B, C, F, T), of which the first `counts` (B,) frames belong to the clip."""
        frames = x.flatten(1, 2).transpose(1, 2).contiguous()  # (B, T, C·F)
        time, last = torch.arange(frames.shape[1], device=x.device), counts - 1
        reversed_time = torch.where(time <= last[:, None], last[:, None] - time, time)  # (B, T), its own inverse
        clip = torch.arange(x.shape[0], device=x.device)  # len(x) would fix the batch size of an ONNX file
        for forwards, backwards in zip(self.forwards, self.backwards, strict=True):
            forward, _ = forwards(frames)
            backward, _ = backwards(frames[clip[:, None], reversed_time])
            frames = torch.cat([forward, backward[clip[:, None], reversed_time]], 2)  # (B, T, 2·hidden)
        if self.pool == "last":
            return self.head(torch.cat([forward[clip, last], backward[clip, last]], 1))
        pooled = time_mean if self.pool == "mean" else time_statistics
        return self.head(pooled(frames.transpose(1, 2), counts))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        pairs = zip(self.forwards, self.backwards, strict=True)
        return [*([*f.parameters(), *b.parameters()] for f, b in pairs), list(self.head.parameters())]


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    hidden: PositiveInt = 128,
    layers: PositiveInt = 2,
    dropout: Dropout = 0.5,
) -> LSTM:
    """`hidden` is the number of units of each direction and layer."""
    return LSTM(shape[0] * shape[1], classes, hidden, layers, dropout)
