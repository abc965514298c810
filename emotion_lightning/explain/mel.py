"""The mel axis that spectrograms and maps share: Slaney's scale, as in features/log_mel.py."""

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from emotion_lightning.features import log_mel

BREAK, STEP = 1000.0, 200 / 3  # Hz; linear below the break with this step, logarithmic above it
RATIO = np.log(6.4) / 27


def mel(hertz: ArrayLike) -> NDArray[np.float64]:
    """Returns frequencies in Hz on Slaney's mel scale."""
    f = np.asarray(hertz, np.float64)
    return np.where(f < BREAK, f / STEP, BREAK / STEP + np.log(np.maximum(f, BREAK) / BREAK) / RATIO)


def hertz(share: ArrayLike, sample_rate: int) -> NDArray[np.float64]:
    """Returns the frequencies in Hz at these shares, 0…1, of the mel axis up to half the sample rate."""
    grid = np.linspace(0, sample_rate / 2, 20_001)
    return np.interp(np.asarray(share) * mel(grid[-1]), mel(grid), grid)


def spectrogram(wave: NDArray[np.float32], sample_rate: int) -> NDArray[np.float32]:
    """Returns the log-mel (80, frames) of a waveform (samples,) in dB below its maximum, the lowest band first."""
    feature = log_mel.build(sample_rate, bands=80, n_fft=round(0.032 * sample_rate), hop=round(0.008 * sample_rate))
    values, _ = feature.spectrogram(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
    return values[0].numpy()
