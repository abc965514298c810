"""Computes the input of arXiv 2507.03251: MFCC of a fixed part of the clip, with all frames in one row of values.

From the author's code: 22.05 kHz, 2.5 s starting at 0.6 s, 20 coefficients of 108 frames (n_fft 2048, hop 512), so 2160
values. For EMO-DB and EMOVO, 108 zero-crossing rates follow. Shorter clips are filled with zeros, which the network sees.
"""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from emotion_lightning.features.log_mel import LogMel
from emotion_lightning.features.mfcc import MFCC

BANDS, N_FFT, HOP, RANGE_DB = 128, 2048, 512, 80.0  # librosa's defaults; lengths in samples


class MFCCRow(MFCC):
    """Maps (B, samples) to (B, 1, values, 1): first all coefficients of frame 0, then of frame 1, and so on.

    The normaliser standardises each value separately.
    """

    def __init__(self, sample_rate: int, coefficients: int, start: float, seconds: float, zero_crossings: bool):
        self.start, self.samples = round(start * sample_rate), round(seconds * sample_rate)
        self.zero_crossings = zero_crossings
        frames = self.samples // HOP + 1
        super().__init__(
            LogMel(sample_rate, BANDS, N_FFT, HOP, frames, RANGE_DB, reference="full_scale"), coefficients
        )
        self.used = (start, start + seconds)

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        waves = torch.nn.functional.pad(waves, (0, max(0, self.start + self.samples - waves.shape[1])))
        waves = waves[:, self.start : self.start + self.samples]
        lengths = (lengths - self.start).clamp(0, self.samples)
        spectrogram, counts = self.log_mel.spectrogram(waves, lengths)
        x = torch.einsum("bft,fc->btc", spectrogram, self.get_buffer("dct"))
        valid = torch.arange(x.shape[1], device=x.device) < (counts * (lengths > 0))[:, None]  # (B, T)
        row = (x * valid[..., None]).flatten(1)
        if self.zero_crossings:
            row = torch.cat([row, _crossings(waves) * valid], 1)
        return row[:, None, :, None], torch.ones(len(waves), device=waves.device)


def _crossings(waves: Tensor) -> Tensor:
    """Computes the zero-crossing rate (B, frames) of (B, samples) in centred frames, as in librosa."""
    padded = torch.nn.functional.pad(waves[:, None], (N_FFT // 2, N_FFT // 2), mode="replicate")[:, 0]
    changed = torch.nn.functional.pad((padded[:, 1:] < 0) != (padded[:, :-1] < 0), (1, 0)).float()
    frames: Tensor = changed.unfold(1, N_FFT, HOP).mean(2)
    return frames


def build(
    sample_rate: int,
    *,
    coefficients: Annotated[int, Field(ge=1, le=BANDS)] = 20,
    start: Annotated[float, Field(ge=0, le=60)] = 0.6,
    seconds: Annotated[float, Field(gt=0, le=60)] = 2.5,
    zero_crossings: bool = False,
) -> MFCCRow:
    """`start` and `seconds` are in s. The paper uses 22 050 Hz and does not trim clips (audio.trim_db: null)."""
    return MFCCRow(sample_rate, coefficients, start, seconds, zero_crossings)
