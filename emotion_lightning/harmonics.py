"""Are two waveforms one recording, but for format, level, noise or pitch? Their harmonics, frame by frame.

Bands of 1/24 octave from 150 to 3000 Hz every 20 ms, each frame's broad shape taken out, so that what is left is where the
harmonics lie. A copy has the other's harmonics at the same times, all of them higher or lower by one factor; another take by
the same speaker has not. Measured on RAVDESS and SAVEE, 60 copies of each kind (docs/log.md, 2026-11-21): copies in another
format or rate 0.96 to 1, with noise of 3.5 % of the peak 0.96 to 0.99, shifted in pitch by 0.7 to 2 semitones 0.67 to 0.88
and nineteen in twenty above 0.77; the 600 likeliest pairs of other takes by the same speaker at most 0.86, eight above 0.80;
those by two speakers at most 0.72.
"""

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


def likeness(a: NDArray[np.float32], b: NDArray[np.float32], rate: int) -> float:
    """The highest correlation, -1…1, of two waveforms (samples,) over small delays and shifts in pitch."""
    x, y = _harmonics(a, rate), _harmonics(b, rate)
    frames = max(x.shape[1], y.shape[1]) + DELAY
    size = (BANDS + SHIFT, 2 ** (2 * frames - 1).bit_length())
    product = torch.fft.irfft2(torch.fft.rfft2(x, size) * torch.fft.rfft2(y, size).conj(), size)
    near = torch.cat([product[: SHIFT + 1], product[-SHIFT:]])
    best = torch.cat([near[:, : DELAY + 1], near[:, -DELAY:]], 1).max()
    return float(best / (x.square().sum() * y.square().sum()).sqrt().clamp(min=1e-9))


def _harmonics(wave: NDArray[np.float32], rate: int) -> Tensor:
    """(bands, T), from where the clip becomes loud to where it ceases to be."""
    n_fft = round(N_FFT * rate)
    window = torch.hann_window(n_fft)
    bins = torch.stft(
        torch.from_numpy(wave), n_fft, round(HOP * rate), window=window, pad_mode="constant", return_complex=True
    )
    energy = _bank(n_fft, rate) @ (bins.real.square() + bins.imag.square())
    total = energy.sum(0)
    loud = torch.nonzero(total >= EDGE * total.max())[:, 0]
    part = energy[:, int(loud[0]) : int(loud[-1]) + 1] / total.max().clamp(min=1e-12)
    level = (part + FLOOR) ** POWER
    padded = torch.nn.functional.pad(level.T[:, None], (SHAPE, SHAPE), mode="replicate")
    return level - torch.nn.functional.avg_pool1d(padded, 2 * SHAPE + 1, 1)[:, 0].T


def _bank(n_fft: int, rate: int) -> Tensor:
    """(bands, bins): triangles one band wide to either side, and no band empty."""
    hertz = torch.fft.rfftfreq(n_fft, 1 / rate).clamp(min=1)
    centres = LOW * 2 ** (torch.arange(BANDS) / PER_OCTAVE)
    bank = (1 - (hertz.log2()[None] - centres.log2()[:, None]).abs() * PER_OCTAVE).clamp(min=0)
    nearest = (hertz[None] - centres[:, None]).abs().argmin(1)
    bank[torch.arange(BANDS), nearest] = bank[torch.arange(BANDS), nearest].clamp(min=0.3)
    return bank
