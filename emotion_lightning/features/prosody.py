"""Pitch, voicing and energy, frame by frame: how something is said, without what is said.

Ours, from the definitions that openSMILE's prosody features share: the pitch of an unvoiced frame is drawn linearly between its
voiced neighbours, energy is in dB below the loudest frame, and each of the three has its change over 40 ms.
"""

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.nn import functional as F

from emotion_lightning.features import Feature, fit_frames
from emotion_lightning.features._pitch import pitch_and_voicing
from emotion_lightning.features.log_mel import Hop

WINDOW = 0.064  # s
VOICED = 0.5  # least height of the autocorrelation's peak
RANGE_DB = 80.0
ROWS = ("pitch", "voicing", "energy")


class Prosody(Feature):
    """Maps (B, samples) to (B, 1, 6, frames): octaves relative to the clip's median pitch, voicing, dB, and their changes."""

    def __init__(self, sample_rate: int, hop: int, frames: int):
        super().__init__()
        self.sample_rate, self.hop, self.frames = sample_rate, hop, frames
        self.used = (0.0, frames * hop / sample_rate)
        self.register_buffer("window", torch.hann_window(round(WINDOW * sample_rate)))
        self.register_buffer("silence", torch.tensor([0, 0, -RANGE_DB, 0, 0, 0]))

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        clips = [self._contours(wave[:length]) for wave, length in zip(waves, lengths.tolist(), strict=True)]
        counts = torch.tensor([clip.shape[1] for clip in clips], device=waves.device)
        longest = max(int(counts.max()), 1)
        padded = torch.stack([F.pad(clip, (0, longest - clip.shape[1])) for clip in clips])
        x, valid = fit_frames(padded, counts, self.frames, self.get_buffer("silence"))
        return x[:, None], valid

    def _contours(self, wave: Tensor) -> Tensor:
        """Returns (6, T) of one clip (samples,)."""
        window = self.get_buffer("window")
        pitch, voicing = pitch_and_voicing(wave, window, self.hop, self.sample_rate)
        half = len(window) // 2
        frames = F.pad(wave, (half, half)).unfold(0, len(window), self.hop) * window
        power = frames.square().sum(1)
        energy = 10 * (power / power.max().clamp(min=1e-10)).clamp(min=10 ** (-RANGE_DB / 10)).log10()
        voiced = (voicing > VOICED) & (energy > -RANGE_DB / 2)
        rows = torch.stack([_between(pitch, voiced), voicing, energy])
        change = F.pad(rows, (2, 2), mode="replicate") if rows.shape[1] > 1 else rows.repeat(1, 5)
        step = max(1, round(0.02 * self.sample_rate / self.hop))  # frames in 20 ms
        return torch.cat([rows, change.roll(-step, 1)[:, 2:-2] - change.roll(step, 1)[:, 2:-2]])


def _between(pitch: Tensor, voiced: Tensor) -> Tensor:
    """Returns (T,) octaves relative to the median of the voiced frames, linear between them; 0 where no frame is voiced."""
    places = voiced.nonzero()[:, 0].cpu().numpy()
    if not len(places):
        return torch.zeros_like(pitch)
    filled = np.interp(np.arange(len(pitch)), places, pitch[voiced].cpu().numpy())
    return torch.from_numpy(filled).to(pitch) - pitch[voiced].median()


def build(sample_rate: int, *, hop: Hop = 320, frames: PositiveInt = 200) -> Prosody:
    """`hop` is in samples; 200 frames of 320 samples are 4 s at 16 kHz."""
    return Prosody(sample_rate, hop, frames)
