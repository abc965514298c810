"""Makes four rows of each clip, as in arXiv 2507.03251: as recorded, with noise, with another pitch, and with both.

The noise is `noise` · U(0, 1) · peak of the clip · N(0, 1). The pitch is shifted by `semitones` with a phase vocoder, which
keeps the duration. The paper uses 0.035 and 0.7 semitones, 2.0 for EMO-DB and EMOVO. For RAVDESS and SAVEE it has 256 rows
for each clip: `times` 64.
"""

import math
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import soxr
import torch
import torchaudio
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat

from emotion_lightning.augment import OfflineAugmentation

Semitones = Annotated[float, Field(ge=-24, le=24)]
Times = Annotated[int, Field(ge=1, le=64)]  # 64 is the paper's largest
N_FFT, HOP = 2048, 512  # samples; librosa's defaults


class Copies(OfflineAugmentation):
    """Yields noisy and pitch-shifted copies of a clip."""

    def __init__(self, noise: float, semitones: float, times: int):
        self.noise, self.semitones, self.times = noise, semitones, times

    def variants(
        self, wave: NDArray[np.float32], rate: int, generator: np.random.Generator
    ) -> Iterator[tuple[str, NDArray[np.float32]]]:
        pitched = shift_pitch(wave, rate, self.semitones)
        for time in range(1, self.times + 1):
            suffix = f" {time}" if time > 1 else ""
            if suffix:
                yield f"recorded{suffix}", wave
            noisy = self._noisy(wave, generator)
            yield f"noise{suffix}", noisy
            yield f"pitch{suffix}", pitched
            yield f"noise+pitch{suffix}", shift_pitch(noisy, rate, self.semitones)

    def _noisy(self, wave: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
        level = self.noise * generator.uniform() * np.abs(wave).max()
        return wave + np.float32(level) * generator.standard_normal(len(wave), dtype=np.float32)


def shift_pitch(wave: NDArray[np.float32], rate: int, semitones: float) -> NDArray[np.float32]:
    """Stretches (samples,) in time with a phase vocoder, then resamples it to its original length."""
    speed = 2 ** (-semitones / 12)
    window = torch.hann_window(N_FFT)
    padded = torch.nn.functional.pad(torch.from_numpy(wave), (0, max(0, N_FFT - len(wave))))
    bins = torch.stft(padded, N_FFT, HOP, window=window, return_complex=True)
    advance = torch.linspace(0, math.pi * HOP, N_FFT // 2 + 1)[:, None]
    stretched = torchaudio.functional.phase_vocoder(bins, speed, advance)
    long = torch.istft(stretched, N_FFT, HOP, window=window, length=round(len(padded) / speed)).numpy()
    resampled: NDArray[np.float32] = soxr.resample(long, rate / speed, rate)
    return np.pad(resampled, (0, max(0, len(wave) - len(resampled))))[: len(wave)].astype(np.float32)


def build(*, noise: NonNegativeFloat = 0.035, semitones: Semitones = 0.7, times: Times = 1) -> Copies:
    """`noise` is the largest deviation, as a share of the clip's peak.

    `times` is how often the four rows are made: 1 gives four rows of a clip, 64 gives 256. Each time has new noise; the clip
    as recorded and the shifted clip are repeated.
    """
    return Copies(noise, semitones, times)
