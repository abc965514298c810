"""Four rows a clip, as arXiv 2507.03251 multiplied its corpora: as recorded, with noise, shifted in pitch, and both.

Noise: `noise` · U(0, 1) · the clip's peak · N(0, 1); pitch: by `semitones`, the duration kept (phase vocoder). The paper's are
0.035 and 0.7 semitones, 2.0 for EMO-DB and EMOVO. Of RAVDESS and SAVEE it had 256 rows a clip: `times` 64.
"""

import math
from collections.abc import Iterator
from typing import Annotated

import numpy as np
import soxr
import torch
import torchaudio
from numpy.typing import NDArray
from pydantic import Field

from emotion_lightning.augment import OfflineAugmentation

N_FFT, HOP = 2048, 512  # samples; librosa's


class Copies(OfflineAugmentation):
    def __init__(self, noise: float, semitones: float, times: int):
        self.noise, self.semitones, self.times = noise, semitones, times

    def variants(
        self, wave: NDArray[np.float32], rate: int, chance: np.random.Generator
    ) -> Iterator[tuple[str, NDArray[np.float32]]]:
        pitched = shifted(wave, rate, self.semitones)
        for time in range(1, self.times + 1):
            mark = f" {time}" if time > 1 else ""
            if mark:
                yield f"recorded{mark}", wave
            noisy = self._noisy(wave, chance)
            yield f"noise{mark}", noisy
            yield f"pitch{mark}", pitched
            yield f"noise+pitch{mark}", shifted(noisy, rate, self.semitones)

    def _noisy(self, wave: NDArray[np.float32], chance: np.random.Generator) -> NDArray[np.float32]:
        level = self.noise * chance.uniform() * np.abs(wave).max()
        return wave + np.float32(level) * chance.standard_normal(len(wave), dtype=np.float32)


def shifted(wave: NDArray[np.float32], rate: int, semitones: float) -> NDArray[np.float32]:
    """(samples,) → (samples,): stretched in time by a phase vocoder, then resampled back to its length."""
    faster = 2 ** (-semitones / 12)
    window = torch.hann_window(N_FFT)
    padded = torch.nn.functional.pad(torch.from_numpy(wave), (0, max(0, N_FFT - len(wave))))
    bins = torch.stft(padded, N_FFT, HOP, window=window, return_complex=True)
    advance = torch.linspace(0, math.pi * HOP, N_FFT // 2 + 1)[:, None]
    stretched = torchaudio.functional.phase_vocoder(bins, faster, advance)
    long = torch.istft(stretched, N_FFT, HOP, window=window, length=round(len(padded) / faster)).numpy()
    back: NDArray[np.float32] = soxr.resample(long, rate / faster, rate)
    return np.pad(back, (0, max(0, len(wave) - len(back))))[: len(wave)].astype(np.float32)


def build(*, noise: float = 0.035, semitones: float = 0.7, times: Annotated[int, Field(ge=1)] = 1) -> Copies:
    """`noise`: largest deviation, as a share of the clip's peak. `times`: how often the four rows are made, 1 for four of
    a clip, 64 for 256; the noise is drawn anew, the clip as recorded and shifted is there as often as that."""
    return Copies(noise, semitones, times)
