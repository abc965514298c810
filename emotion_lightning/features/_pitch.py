"""Pitch and voicing by autocorrelation, frame by frame; shared by the features that use them."""

import torch
from torch import Tensor
from torch.nn import functional as F

PITCH = (60.0, 600.0)  # Hz
NEARLY = 0.9  # of the greatest peak


def pitch_and_voicing(wave: Tensor, window: Tensor, hop: int, rate: int) -> tuple[Tensor, Tensor]:
    """Returns pitch (T,) in octaves above 1 Hz and voicing (T,), the height of the autocorrelation's peak.

    `wave` (samples,) has `rate` samples a second, and a frame begins every `hop` samples. The autocorrelation is divided by that
    of the window (Boersma 1993). A sound of one period has as high a peak at each multiple of it, so the first peak of nearly the
    greatest height is taken.
    """
    n_fft = len(window)
    half = n_fft // 2
    frames = F.pad(wave, (half, half)).unfold(0, n_fft, hop)
    spectrum = torch.fft.rfft((frames - frames.mean(1, keepdim=True)) * window, 2 * n_fft)
    of_window = torch.fft.rfft(window, 2 * n_fft)
    own, of_window = (torch.fft.irfft(s.abs().square())[..., : half + 1] for s in (spectrum, of_window))
    normal = own / (own[:, :1] + 1e-9) / (of_window / of_window[0])
    shortest, longest = (round(rate / hertz) for hertz in reversed(PITCH))
    inner, before, after = (normal[:, shortest + i : min(longest, half - 1) + i] for i in (0, -1, 1))
    voicing = inner.amax(1)
    is_peak = (inner >= before) & (inner >= after) & (inner > NEARLY * voicing[:, None])
    lag = is_peak.float().argmax(1, keepdim=True)  # the first one
    left, top, right = (x.gather(1, lag)[:, 0] for x in (before, inner, after))
    offset = (left - right) / (2 * (left - 2 * top + right)).clamp(max=-1e-6)  # of the top of a parabola
    return (rate / (lag[:, 0] + offset.clamp(-0.5, 0.5) + shortest)).log2(), voicing
