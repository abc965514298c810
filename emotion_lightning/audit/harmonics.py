"""Are two waveforms one recording, but for format, level, noise or pitch? Their harmonics, frame by frame.

Bands of 1/24 octave from 150 to 3000 Hz every 20 ms, each frame's broad shape taken out, so that what is left is where the
harmonics lie. A copy has the other's harmonics at the same times, all of them higher or lower by one factor; another take by
the same speaker has not. Measured on RAVDESS and SAVEE, 60 copies of each kind (docs/log.md, 2026-11-21): copies in another
format or rate 0.96 to 1, with noise of 3.5 % of the peak 0.96 to 0.99, shifted in pitch by 0.7 to 2 semitones 0.67 to 0.88
and nineteen in twenty above 0.77; the 600 likeliest pairs of other takes by the same speaker at most 0.86, eight above 0.80;
those by two speakers at most 0.72.
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
N_FFT, HOP = 0.128, 0.02  # s: 2048 samples at 16 kHz tell the harmonics of a low voice apart
EDGE, FLOOR, POWER = 10**-1.6, 1e-5, 0.25
SHAPE = 12  # bands to either side: half an octave
DELAY, SHIFT = 4, 8  # frames (80 ms) and bands (4 semitones) that a copy may be off by
FRAMES = 128
SIZE = (BANDS + SHIFT, 2 * (FRAMES + DELAY))


@dataclass(frozen=True)
class Harmonics:
    spectrum: Tensor  # of the bands over time, complex, zero-padded so that delays and shifts do not wrap around
    energy: float


def heard(wave: NDArray[np.float32], rate: int) -> Harmonics:
    """Of a waveform (samples,): 2.56 s from where it becomes loud, or less where it ceases to be."""
    n_fft = round(N_FFT * rate)
    window = torch.hann_window(n_fft)
    bins = torch.stft(
        torch.from_numpy(wave), n_fft, round(HOP * rate), window=window, pad_mode="constant", return_complex=True
    )
    energy = _bank(n_fft, rate) @ (bins.real.square() + bins.imag.square())
    total = energy.sum(0)
    loud = torch.nonzero(total >= EDGE * total.max())[:, 0]
    part = energy[:, int(loud[0]) : int(loud[-1]) + 1][:, :FRAMES] / total.max().clamp(min=1e-12)
    level = (part + FLOOR) ** POWER
    padded = torch.nn.functional.pad(level.T[:, None], (SHAPE, SHAPE), mode="replicate")
    x = level - torch.nn.functional.avg_pool1d(padded, 2 * SHAPE + 1, 1)[:, 0].T  # (bands, T)
    return Harmonics(torch.fft.rfft2(x, SIZE), float(x.square().sum()))


def likeness(a: Harmonics, b: Harmonics) -> float:
    """The highest correlation, -1…1, over small delays and shifts in pitch."""
    product = torch.fft.irfft2(a.spectrum * b.spectrum.conj(), SIZE)
    near = torch.cat([product[: SHIFT + 1], product[-SHIFT:]])
    best = torch.cat([near[:, : DELAY + 1], near[:, -DELAY:]], 1).max()
    return float(best) / max((a.energy * b.energy) ** 0.5, 1e-9)


@cache
def _bank(n_fft: int, rate: int) -> Tensor:
    """(bands, bins): triangles one band wide to either side, and no band empty."""
    hertz = torch.fft.rfftfreq(n_fft, 1 / rate).clamp(min=1)
    centres = LOW * 2 ** (torch.arange(BANDS) / PER_OCTAVE)
    bank = (1 - (hertz.log2()[None] - centres.log2()[:, None]).abs() * PER_OCTAVE).clamp(min=0)
    nearest = (hertz[None] - centres[:, None]).abs().argmin(1)
    bank[torch.arange(BANDS), nearest] = bank[torch.arange(BANDS), nearest].clamp(min=0.3)
    return bank
