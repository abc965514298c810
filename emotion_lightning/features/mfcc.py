"""Computes mel-frequency cepstral coefficients (MFCC): the orthonormal DCT-II over the bands of the log-mel, as in librosa."""

import math

import torch
import torchaudio
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from emotion_lightning.errors import UserError
from emotion_lightning.features import Feature, fit_frames
from emotion_lightning.features.log_mel import Hop, LogMel, Reference


class MFCC(Feature):
    """Maps (B, samples) to (B, 1, coefficients, frames). Coefficient 0 is the level, relative to the log-mel's reference."""

    def __init__(self, log_mel: LogMel, coefficients: int):
        super().__init__()
        self.log_mel, self.used = log_mel, log_mel.used
        bands = log_mel.bands
        self.register_buffer("dct", torchaudio.functional.create_dct(coefficients, bands, norm="ortho"))  # (bands, C)
        silence = torch.zeros(coefficients)
        silence[0] = log_mel.floor * math.sqrt(bands)  # the DCT of a frame at the floor
        self.register_buffer("silence", silence)

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        spectrogram, counts = self.log_mel.spectrogram(waves, lengths)
        x = torch.einsum("bft,fc->bct", spectrogram, self.get_buffer("dct"))
        x, valid = fit_frames(x, counts, self.log_mel.frames, self.get_buffer("silence"))
        return x[:, None], valid


def build(
    sample_rate: int,
    *,
    coefficients: PositiveInt = 20,
    bands: PositiveInt = 128,
    n_fft: PositiveInt = 2048,
    hop: Hop = 512,
    frames: PositiveInt = 128,
    range_db: PositiveFloat = 80.0,
    reference: Reference = "maximum",
) -> MFCC:
    """The defaults are librosa's. `hop` and `n_fft` are in samples; 128 frames of 512 samples are 4.1 s at 16 kHz.

    Raises: UserError for more coefficients than bands.
    """
    if coefficients > bands:
        raise UserError(f"features.coefficients: {bands} bands have at most as many coefficients, not {coefficients}")
    return MFCC(LogMel(sample_rate, bands, n_fft, hop, frames, range_db, reference=reference), coefficients)
