"""Computes log-mel spectrograms of one clip with several window lengths, each a channel, for `models/eca_cnn.py`.

Source: arXiv 2409.04007, which trains on windows of 15…50 ms at once: a short window resolves time, a long one frequency. The
channels have the same bands and frames. A value is stored as one byte, in steps of 0.3 dB with a range of 80 dB.
"""

from typing import Annotated

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from emotion_lightning.config.ranges import NotEmpty
from emotion_lightning.errors import UserError
from emotion_lightning.features import Feature
from emotion_lightning.features.log_mel import Hop, LogMel


class LogMelWindows(Feature):
    """Maps (B, samples) to (B, windows, bands, frames) uint8, and `present` maps this to dB.

    The levels are relative to the maximum of the clip under each window.
    """

    def __init__(self, log_mels: list[LogMel], windows: list[int]):
        """`windows` are the lengths in samples. Each is centred in the transform of its log-mel, zero beside it."""
        super().__init__()
        self.log_mels = nn.ModuleList(log_mels)
        self.used, self.range_db = log_mels[0].used, log_mels[0].range_db
        for log_mel, length in zip(log_mels, windows, strict=True):
            spare = log_mel.n_fft - length
            padded = nn.functional.pad(torch.hann_window(length), (spare // 2, spare - spare // 2))
            log_mel.get_buffer("window").copy_(padded)

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        channels, shares = zip(*(log_mel(waves, lengths) for log_mel in self.log_mels), strict=True)
        levels = torch.cat(channels, 1).mul_(255 / self.range_db).add_(255)  # -range_db…0 dB become 0…255
        return levels.clamp_(0, 255).round_().to(torch.uint8), shares[0]

    def present(self, stored: Tensor) -> Tensor:
        return stored.float() * (self.range_db / 255) - self.range_db


Milliseconds = Annotated[float, Field(ge=1, le=200)]


def build(
    sample_rate: int,
    *,
    windows_ms: Annotated[tuple[Milliseconds, ...], NotEmpty] = (15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0),
    bands: PositiveInt = 64,
    n_fft: PositiveInt = 1024,
    hop: Hop = 160,
    frames: PositiveInt = 300,
    range_db: PositiveFloat = 80.0,
) -> LogMelWindows:
    """`windows_ms` are in milliseconds, `n_fft` and `hop` in samples, the same for all windows.

    Raises: UserError where a window is longer than the transform.
    """
    lengths = [round(window * sample_rate / 1000) for window in windows_ms]
    if max(lengths) > n_fft:
        raise UserError(
            f"features.n_fft: {n_fft} samples are too few for a window of {max(windows_ms):g} ms, {max(lengths)} samples"
        )
    return LogMelWindows([LogMel(sample_rate, bands, n_fft, hop, frames, range_db) for _ in lengths], lengths)
