"""Measures whether two waveforms are the same recording apart from format, level, noise or pitch, by their harmonics.

The spectrum has bands of 1/24 octave from 150 to 3000 Hz, every 20 ms. The broad shape of each frame is removed, which
leaves the positions of the harmonics. A copy has the same harmonics at the same times, all shifted in pitch by one
factor. Another take by the same speaker does not.

Similarities measured on RAVDESS and SAVEE, with 60 copies of each kind (docs/log.md, 2026-11-21):

- copies in another format or sample rate: 0.96 to 1
- copies with noise of 3.5 % of the peak: 0.96 to 0.99
- copies shifted in pitch by 0.7 to 2 semitones: 0.67 to 0.88, and 95 % of them above 0.77
- the 600 most similar pairs of different takes by one speaker: at most 0.86, eight of them above 0.80
- the most similar pairs of two speakers: at most 0.72
"""

from dataclasses import dataclass
from functools import cache
from math import log2

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

LOW, HIGH, PER_OCTAVE = 150.0, 3000.0, 24  # Hz, Hz, bands
BANDS = int(log2(HIGH / LOW) * PER_OCTAVE)
N_FFT, HOP = 0.128, 0.02  # s: 2048 samples at 16 kHz separate the harmonics of a low voice
EDGE, FLOOR, POWER = 10**-1.6, 1e-5, 0.25
SHAPE = 12  # bands on each side of the moving average: half an octave
DELAY, SHIFT = 4, 8  # largest offset of a copy: frames (80 ms) and bands (4 semitones)
FRAMES = 128
SIZE = (BANDS + SHIFT, 2 * (FRAMES + DELAY))


@dataclass(frozen=True)
class Harmonics:
    """The harmonic spectrum of one recording, ready for correlation with another."""

    spectrum: Tensor  # complex 2-D Fourier transform of (bands, frames), zero-padded against wrap-around
    energy: float  # sum of squares before the transform


def harmonic_spectrum(wave: NDArray[np.float32], rate: int) -> Harmonics:
    """Computes the harmonic spectrum of a waveform (samples,), `rate` in Hz.

    It covers at most 2.56 s, from the first loud frame to the last one.
    """
    n_fft = round(N_FFT * rate)
    window = torch.hann_window(n_fft)
    bins = torch.stft(
        torch.from_numpy(wave), n_fft, round(HOP * rate), window=window, pad_mode="constant", return_complex=True
    )
    energy = _bank(n_fft, rate) @ (bins.real.square() + bins.imag.square())
    total = energy.sum(0)
    loud = torch.nonzero(total >= EDGE * total.max())[:, 0]
    active = energy[:, int(loud[0]) : int(loud[-1]) + 1][:, :FRAMES] / total.max().clamp(min=1e-12)
    level = (active + FLOOR) ** POWER
    # subtract a moving average along the bands: the broad shape of each frame
    padded = torch.nn.functional.pad(level.T[:, None], (SHAPE, SHAPE), mode="replicate")
    contrast = level - torch.nn.functional.avg_pool1d(padded, 2 * SHAPE + 1, 1)[:, 0].T  # (bands, T)
    return Harmonics(torch.fft.rfft2(contrast, SIZE), float(contrast.square().sum()))


def similarity(a: Harmonics, b: Harmonics) -> float:
    """Returns the highest correlation (-1…1) over delays of up to 80 ms and pitch shifts of up to 4 semitones."""
    correlation = torch.fft.irfft2(a.spectrum * b.spectrum.conj(), SIZE)
    shifted = torch.cat([correlation[: SHIFT + 1], correlation[-SHIFT:]])
    best = torch.cat([shifted[:, : DELAY + 1], shifted[:, -DELAY:]], 1).max()
    return float(best) / max((a.energy * b.energy) ** 0.5, 1e-9)


@cache
def _bank(n_fft: int, rate: int) -> Tensor:
    """Returns the filter bank (bands, bins): triangles that reach one band to each side. No band is empty."""
    hertz = torch.fft.rfftfreq(n_fft, 1 / rate).clamp(min=1)
    centres = LOW * 2 ** (torch.arange(BANDS) / PER_OCTAVE)
    bank = (1 - (hertz.log2()[None] - centres.log2()[:, None]).abs() * PER_OCTAVE).clamp(min=0)
    nearest = (hertz[None] - centres[:, None]).abs().argmin(1)
    bank[torch.arange(BANDS), nearest] = bank[torch.arange(BANDS), nearest].clamp(min=0.3)
    return bank
