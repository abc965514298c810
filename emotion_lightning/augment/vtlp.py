"""Warps the frequency axis of each clip by a factor of its own, as if the vocal tract were shorter or longer (VTLP).

Source: Jaitly and Hinton 2013, Vocal Tract Length Perturbation (VTLP) improves speech recognition; arXiv 2102.01813 draws
factors from 0.8…1.2. Below the boundary a frequency is multiplied by the factor; above it the warp is linear so that the
Nyquist frequency stays. Duration and level of the clip stay.

The bins of a short-time Fourier transform move to their warped frequency, and the phase of each moves on with the warped
instantaneous frequency, so that a tone becomes a tone.
"""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from emotion_lightning.augment import Augmentation, random_mask, uniform
from emotion_lightning.config.ranges import Share
from emotion_lightning.errors import UserError

N_FFT, HOP = 1024, 256  # samples


class VTLP(Augmentation):
    """Warps waveforms (B, samples). The zeros after the end of a clip stay there."""

    stage = "waveform"

    def __init__(self, low: float, high: float, boundary: float, p: float):
        super().__init__()
        self.low, self.high, self.boundary, self.p = low, high, boundary, p
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)

    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        factors = uniform(self.low, self.high, x)
        clips = random_mask(self.p, x).nonzero()[:, 0]
        if not len(clips):
            return x, extent, targets
        waves, result = x[clips], x.clone()
        after = torch.arange(x.shape[1], device=x.device) >= extent[clips, None]
        warped = self._warped(waves, factors[clips]).masked_fill(after, 0)
        old, new = (part.square().sum(1, keepdim=True) for part in (waves, warped))
        result[clips] = warped * (old / new.clamp(min=1e-20)).sqrt()
        return result, extent, targets

    def _warped(self, waves: Tensor, factors: Tensor) -> Tensor:
        """Returns waveforms (B, samples) whose frequencies are warped by the factors (B,)."""
        samples, window = waves.shape[1], self.get_buffer("window")
        padded = torch.nn.functional.pad(waves, (0, max(0, N_FFT - samples)))
        bins = torch.stft(padded, N_FFT, HOP, window=window, pad_mode="constant", return_complex=True)
        bins = bins.contiguous()  # torch's own layout has the time axis first, and rows are copied here
        knee_in = (self.boundary * factors.clamp(max=1) / factors)[:, None]  # (B, 1), as a share of Nyquist
        knee_out = (self.boundary * factors.clamp(max=1))[:, None]
        number = bins.shape[1] - 1
        share = torch.linspace(0, 1, number + 1, device=waves.device).expand(len(waves), -1)  # (B, bins)
        source = number * _warp(share, knee_out, knee_in)  # the bin whose content each bin gets
        turn = _cumulated_turn(bins, source.round().long(), knee_in, knee_out)  # (B, bins, T)
        moved = torch.polar(torch.ones_like(turn), turn) * _between_bins(bins, source)
        return torch.istft(moved, N_FFT, HOP, window=window, length=padded.shape[1])[:, :samples]


def _warp(share: Tensor, knee_in: Tensor, knee_out: Tensor) -> Tensor:
    """Maps frequencies, as shares of Nyquist: linear from 0 to `knee_in` → `knee_out`, and linear from there to 1 → 1.

    With the two knees exchanged, it is the inverse.
    """
    above = 1 - (1 - knee_out) / (1 - knee_in) * (1 - share)
    return torch.where(share <= knee_in, share * knee_out / knee_in, above)


def _cumulated_turn(bins: Tensor, nearest: Tensor, knee_in: Tensor, knee_out: Tensor) -> Tensor:
    """Returns (B, bins, T): by how much the phase of each bin turns beyond that of its source bin `nearest` (B, bins).

    From frame to frame, it turns by the difference of the warped and the original instantaneous frequency.
    """
    centre = torch.linspace(0, 1, bins.shape[1], device=bins.device)[:, None]  # (bins, 1), as a share of Nyquist
    advance = (bins[..., 1:] * bins[..., :-1].conj()).angle()  # (B, bins, T - 1)
    expected = math.pi * HOP * centre
    deviation = torch.remainder(advance - expected + math.pi, 2 * math.pi) - math.pi
    frequency = (centre + deviation / (math.pi * HOP)).clamp(0, 1)
    step = math.pi * HOP * (_warp(frequency, knee_in[..., None], knee_out[..., None]) - frequency)
    return torch.nn.functional.pad(_rows(step, nearest).cumsum(2), (1, 0))


def _between_bins(bins: Tensor, position: Tensor) -> Tensor:
    """Returns (B, bins, T): the spectrum at these positions (B, bins), with linear interpolation.

    Phases count from the centre of a frame, where those of neighbouring bins of one tone are equal. So each odd step between
    a bin and its source changes the sign.
    """
    low = position.floor().long().clamp(max=bins.shape[1] - 2)
    sign = 1.0 - 2.0 * ((torch.arange(bins.shape[1], device=bins.device) - low) % 2)
    at_high = (position - low) * -sign
    at_low = (1 - position + low) * sign
    return _rows(bins, low) * at_low[:, :, None] + _rows(bins, low + 1) * at_high[:, :, None]


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Returns (B, bins, T): of each clip in `x` (B, bins, T), the rows that `index` (B, bins) names."""
    first = torch.arange(len(x), device=x.device)[:, None] * x.shape[1]
    return x.flatten(0, 1).index_select(0, (first + index).flatten()).view_as(x)


Factor = Annotated[float, Field(ge=0.5, le=2)]


def build(
    *,
    low: Factor = 0.9,
    high: Factor = 1.1,
    boundary: Annotated[float, Field(gt=0, lt=1)] = 0.6,
    p: Share = 0.5,
) -> VTLP:
    """The factor is drawn between `low` and `high`; `boundary` is a share of the Nyquist frequency (0.6: 4800 Hz at 16 kHz).

    Raises: UserError where `low` is larger than `high`.
    """
    if low > high:
        raise UserError(f"augment.vtlp: low={low} is larger than high={high}")
    return VTLP(low, high, boundary, p)
