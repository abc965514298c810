"""Computes log-mel spectrograms in dB, relative to the maximum of the clip or to full scale.

The defaults are DeepEmoNet's: 16 kHz, 128 bands, hop 8 ms. Mel scale and norm are Slaney's, and frames are centred and
zero-padded, as in librosa; the results agree with librosa's within 0.01 dB.
"""

from typing import Annotated, Literal

import torch
import torchaudio
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from emotion_lightning.features import Feature, fit_frames

POWER_FLOOR = 1e-10  # librosa's amin
FLOOR_DB = -100.0  # the same in dB of full scale

Reference = Literal["maximum", "full_scale"]


class LogMel(Feature):
    """Maps (B, samples) to (B, 1, bands, frames) in dB, from -range_db to 0, the maximum of the clip.

    With the reference full_scale, levels are relative to full scale, as in librosa's power_to_db with ref=1. Without
    `log`, the values are mel power relative to the maximum, on the same scale: power 0 is -range_db.
    """

    def __init__(
        self,
        sample_rate: int,
        bands: int,
        n_fft: int,
        hop: int,
        frames: int,
        range_db: float,
        log: bool = True,
        reference: Reference = "maximum",
    ):
        super().__init__()
        self.bands, self.n_fft, self.hop, self.frames = bands, n_fft, hop, frames
        self.range_db, self.log, self.absolute = range_db, log, reference == "full_scale"
        self.used = (0.0, frames * hop / sample_rate)
        bank = torchaudio.functional.melscale_fbanks(
            n_fft // 2 + 1, 0, sample_rate / 2, bands, sample_rate, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("bank", bank.T.contiguous())  # (bands, bins)
        self.blocks = _filled_blocks(bank.T)
        self.register_buffer("window", torch.hann_window(n_fft))
        self.register_buffer("silence", torch.full((bands,), self.floor))

    @property
    def floor(self) -> float:
        """Returns the level of a frame after the end of the clip, in dB."""
        return FLOOR_DB if self.absolute else -self.range_db

    def spectrogram(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Computes (B, bands, T), where T is the length of the longest clip, and the number of frames of each clip (B,).

        Frames after the end of a clip have the lowest level of its range.
        """
        window = self.get_buffer("window")
        bins = torch.stft(waves, self.n_fft, self.hop, window=window, pad_mode="constant", return_complex=True)
        # real² + imag² is used because the root in abs()² takes as long as the whole transform
        energy, bank = bins.real.square() + bins.imag.square(), self.get_buffer("bank")  # (B, bins, T)
        power = torch.cat(
            [bank[rows, columns] @ energy[:, columns] for rows, columns in self.blocks], 1
        )  # (B, bands, T)
        counts = lengths // self.hop + 1
        power = power * (torch.arange(power.shape[-1], device=power.device) < counts[:, None])[:, None]
        loudest = power.amax(dim=(1, 2), keepdim=True).clamp(min=POWER_FLOOR)
        if not self.log:
            return (power / loudest - 1) * self.range_db, counts
        peak = 10 * loudest.log10()
        decibel = power.clamp_(min=POWER_FLOOR).log10_().mul_(10).sub_(peak).clamp_(min=-self.range_db)
        return decibel.add_(peak) if self.absolute else decibel, counts

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        spectrogram, counts = self.spectrogram(waves, lengths)
        x, valid = fit_frames(spectrogram, counts, self.frames, self.get_buffer("silence"))
        return x[:, None], valid


def _filled_blocks(bank: Tensor, bands: int = 16) -> list[tuple[slice, slice]]:
    """Splits a filter bank (bands, bins) into blocks of bands, each with the bins that it uses: a fifth of the work."""
    blocks = []
    for first in range(0, len(bank), bands):
        used = bank[first : first + bands].amax(0).nonzero()[:, 0].tolist() or [0]
        blocks.append((slice(first, first + bands), slice(used[0], used[-1] + 1)))
    return blocks


Hop = Annotated[int, Field(ge=16)]  # samples; a smaller one makes thousands of frames of each second


def build(
    sample_rate: int,
    *,
    bands: PositiveInt = 128,
    n_fft: PositiveInt = 512,
    hop: Hop = 128,
    frames: PositiveInt = 400,
    range_db: PositiveFloat = 80.0,
    log: bool = True,
) -> LogMel:
    """`hop` and `n_fft` are in samples. Clips are cut or filled to `frames` frames (400 are 3.2 s)."""
    return LogMel(sample_rate, bands, n_fft, hop, frames, range_db, log)
