"""DeepEmoNet's bidirectional LSTM over log-mel frames: both directions' end states, dropout, one linear layer.

Frames behind a clip's end are never heard: the backward direction starts at each clip's own last frame. Each direction
is a plain LSTM over a dense batch, the backward one over frames turned round within the clip; the same as packed
sequences, which cost eight times as much on a CPU.
"""

import torch
from torch import Tensor, nn

from emotion_lightning.models import Network


class LSTM(Network):
    """(B, C, F, T) → logits; channels and bands of a frame are one vector."""

    def __init__(self, inputs: int, classes: int, hidden: int, layers: int, dropout: float):
        super().__init__()
        widths = [inputs] + [2 * hidden] * (layers - 1)
        self.forwards = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in widths)
        self.backwards = nn.ModuleList(nn.LSTM(width, hidden, batch_first=True) for width in widths)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(2 * hidden, classes))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        frames = x.flatten(1, 2).transpose(1, 2).contiguous()  # (B, T, C·F)
        time = torch.arange(frames.shape[1], device=x.device)
        last = (valid * frames.shape[1]).round().long().clamp(min=1) - 1  # (B,)
        turned = torch.where(time <= last[:, None], last[:, None] - time, time)  # (B, T), its own inverse
        clip = torch.arange(len(x), device=x.device)
        for forwards, backwards in zip(self.forwards, self.backwards, strict=True):
            ahead, _ = forwards(frames)
            back, _ = backwards(frames[clip[:, None], turned])
            frames = torch.cat([ahead, back[clip[:, None], turned]], 2)
        return self.head(torch.cat([ahead[clip, last], back[clip, last]], 1))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        pairs = zip(self.forwards, self.backwards, strict=True)
        return [*([*f.parameters(), *b.parameters()] for f, b in pairs), list(self.head.parameters())]


def build(
    shape: tuple[int, int, int], classes: int, *, hidden: int = 128, layers: int = 2, dropout: float = 0.5
) -> LSTM:
    """`hidden` units a direction and layer."""
    return LSTM(shape[0] * shape[1], classes, hidden, layers, dropout)
