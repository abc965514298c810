"""Computes the fingerprint by which the audit compares recordings: the energy of 24 bands over time, one byte each.

It does not change with sample rate, format, level, added noise or silence around the speech, and little with a shift of
pitch. The bands are 0.23 octaves wide, from 80 to 3600 Hz. Their energy is smoothed over 100 ms, cut to where it is within
16 dB of its peak, and compressed (energy^0.3). The thresholds are in audit/near_duplicates.py, their measurement in
audit/harmonics.py.
"""

import math

import torch
from torch import Tensor

from emotion_lightning.features import Feature

BANDS, FRAMES = 24, 128
HOP, N_FFT, SMOOTH = 0.01, 0.032, 5  # s, s, frames to either side
STEP = 2  # every second frame is stored: one each 20 ms, so 128 frames are 2.56 s
EDGE_DB, FLOOR, POWER = -16.0, 1e-4, 0.3


class Fingerprint(Feature):
    """Maps (B, samples) to (B, 1, 24, 128) uint8, 0 after the end of the clip. Longer clips are cut at 2.56 s."""

    def __init__(self, sample_rate: int):
        super().__init__()
        self.hop, self.n_fft = round(HOP * sample_rate), round(N_FFT * sample_rate)
        edges = torch.logspace(math.log10(80), math.log10(3600), BANDS + 2)
        hertz = torch.fft.rfftfreq(self.n_fft, 1 / sample_rate).clamp(min=1)
        low, centre, high = (edges[i : i + BANDS, None].log() for i in range(3))
        rising, falling = (hertz.log() - low) / (centre - low), (high - hertz.log()) / (high - centre)
        bank = torch.minimum(rising, falling).clamp(min=0)  # (bands, bins)
        nearest = (hertz[None] - edges[1:-1, None]).abs().argmin(1)
        bank[torch.arange(BANDS), nearest] = bank[torch.arange(BANDS), nearest].clamp(min=0.1)  # no band is empty
        self.register_buffer("bank", bank)
        self.register_buffer("window", torch.hann_window(self.n_fft))
        smooth = torch.hann_window(2 * SMOOTH + 3, periodic=False)[1:-1]
        self.register_buffer("smooth", (smooth / smooth.sum())[None, None])

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        window, bank, smooth = (self.get_buffer(name) for name in ("window", "bank", "smooth"))
        bins = torch.stft(waves, self.n_fft, self.hop, window=window, pad_mode="constant", return_complex=True)
        energy = bank @ (bins.real.square() + bins.imag.square())  # (B, bands, T)
        counts = lengths // self.hop + 1
        within = (torch.arange(energy.shape[-1], device=waves.device) < counts[:, None])[:, None]
        energy = torch.nn.functional.conv1d((energy * within).flatten(0, 1)[:, None], smooth, padding=SMOOTH)
        energy = (energy[:, 0].unflatten(0, (len(waves), BANDS)) * within)[..., ::STEP]
        return torch.stack([self._fingerprint(clip) for clip in energy])[:, None], torch.ones(
            len(waves), device=waves.device
        )

    def _fingerprint(self, energy: Tensor) -> Tensor:
        """Cuts (bands, T) from the first loud frame to the last one, and compresses it to (bands, 128) uint8."""
        total = energy.sum(0)
        out = torch.zeros(BANDS, FRAMES, dtype=torch.uint8, device=energy.device)
        if not (peak := float(total.max())):
            return out
        loud = torch.nonzero(total > peak * 10 ** (EDGE_DB / 10))[:, 0]
        part = energy[:, int(loud[0]) : int(loud[-1]) + 1][:, :FRAMES] / peak
        out[:, : part.shape[1]] = (255 * (part + FLOOR) ** POWER).clamp(1, 255).round().to(torch.uint8)
        return out


def build(sample_rate: int) -> Fingerprint:
    return Fingerprint(sample_rate)
