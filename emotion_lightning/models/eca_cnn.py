"""Six convolutions with efficient channel attention (ECA) on the last two, for log-mel of one or of several window lengths.

Source: arXiv 2409.04007. Known from it: six convolutions with batch norm and ReLU, channel attention on the deep ones, and
training on windows of 15…50 ms at once. Ours: 3×3 kernels, 32-32-64-64-128-128 channels, max pooling between the layers, and
the mean over the clip's own positions before the linear layer. 0.3 M parameters.

With `windows: drawn`, each channel of the input is the same clip under another window length (`features/log_mel_windows.py`),
and the network has one input channel. A training step draws one window for each clip; otherwise the logits are the mean over
all windows. With `windows: all`, the windows are the input channels.
"""

from typing import Annotated, Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from emotion_lightning.config.ranges import Dropout, NotEmpty
from emotion_lightning.models import Network
from emotion_lightning.models._masked import MaskedConv, frame_counts, masked, time_mean


class ECA(nn.Module):
    """Weights each channel by a sigmoid of the means of itself and its two neighbours (Wang et al. 2020, arXiv 1910.03151)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """Weights the channels of (B, C, F, T); the means are those of the first `counts` (B,) frames."""
        weight = self.conv(time_mean(x.mean(2), counts)[:, None])[:, 0].sigmoid()  # (B, C)
        return x * weight[:, :, None, None].to(x.dtype)


class ECACNN(Network):
    """Maps (B, C, F, T) to logits."""

    def __init__(self, channels: int, classes: int, widths: tuple[int, ...], windows: str, dropout: float):
        super().__init__()
        self.draws = windows == "drawn"
        self.layers, self.attentions = nn.ModuleList(), nn.ModuleList()
        before = 1 if self.draws else channels
        for number, width in enumerate(widths):
            self.layers.append(MaskedConv(before, width, pool=(2, 2) if number < len(widths) - 1 else (1, 1)))
            self.attentions.append(ECA() if number >= len(widths) - 2 else nn.Identity())
            before = width
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(widths[-1], classes))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        if not self.draws:
            return self._logits(x, valid)
        clips, windows = x.shape[:2]
        if self.training:
            drawn = torch.randint(windows, (clips,), device=x.device)
            return self._logits(x[torch.arange(clips, device=x.device), drawn][:, None], valid)
        logits = self._logits(x.flatten(0, 1)[:, None], valid.repeat_interleave(windows))
        return logits.view(clips, windows, -1).mean(1)

    def _logits(self, x: Tensor, valid: Tensor) -> Tensor:
        counts = frame_counts(valid, x.shape[3])
        x = masked(x, counts)
        for layer, attention in zip(self.layers, self.attentions, strict=True):
            x, counts = layer(x, counts)
            x = attention(x, counts) if isinstance(attention, ECA) else x
        return self.head(time_mean(x.mean(2), counts))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        pairs = zip(self.layers, self.attentions, strict=True)
        return [*([*a.parameters(), *b.parameters()] for a, b in pairs), list(self.head.parameters())]


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    widths: Annotated[tuple[PositiveInt, ...], NotEmpty] = (32, 32, 64, 64, 128, 128),
    windows: Literal["drawn", "all"] = "drawn",
    dropout: Dropout = 0.3,
) -> ECACNN:
    """`widths` are the channels of the convolutions."""
    return ECACNN(shape[0], classes, widths, windows, dropout)
