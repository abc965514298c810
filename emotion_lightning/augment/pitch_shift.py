"""Shifts the pitch of each clip and keeps its duration: a phase vocoder stretches it, and resampling shortens it again.

Source: a common augmentation of speech, for example in arXiv 2507.03251, whose offline form is `augment/copies.py`. Formants move
with the pitch, and the level of the clip stays.
"""

import math
from typing import Annotated

import torch
import torchaudio
from pydantic import Field
from torch import Tensor

from emotion_lightning.augment import Augmentation
from emotion_lightning.augment.speed import STEPS
from emotion_lightning.config.ranges import NotEmpty

N_FFT, HOP = 1024, 128  # samples; with a hop of a quarter, a tone loses a tenth of its amplitude


class PitchShift(Augmentation):
    """Shifts waveforms (B, samples). The zeros after the end of a clip stay there."""

    stage = "waveform"

    def __init__(self, semitones: tuple[float, ...]):
        super().__init__()
        self.ratios = [round(STEPS * 2 ** (step / 12)) / STEPS for step in semitones]
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)
        self.register_buffer("advance", torch.linspace(0, math.pi * HOP, N_FFT // 2 + 1)[:, None], persistent=False)

    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        drawn = torch.randint(len(self.ratios), (len(x),), device=x.device)
        result = x.clone()
        for number, ratio in enumerate(self.ratios):
            clips = (drawn == number).nonzero()[:, 0]
            if ratio != 1 and len(clips):
                result[clips] = self._shifted(x[clips], ratio)
        after = torch.arange(x.shape[1], device=x.device) >= extent[:, None]
        return result.masked_fill(after, 0), extent, targets

    def _shifted(self, waves: Tensor, ratio: float) -> Tensor:
        """Returns waveforms (B, samples) whose frequencies are multiplied by `ratio`."""
        samples, window = waves.shape[1], self.get_buffer("window")
        padded = torch.nn.functional.pad(waves, (0, max(0, N_FFT - samples)))
        bins = torch.stft(padded, N_FFT, HOP, window=window, pad_mode="constant", return_complex=True)
        stretched = torchaudio.functional.phase_vocoder(bins, 1 / ratio, self.get_buffer("advance"))
        long = torch.istft(stretched, N_FFT, HOP, window=window, length=round(padded.shape[1] * ratio))
        shifted = torchaudio.functional.resample(long, round(STEPS * ratio), STEPS)[:, :samples]
        shifted = torch.nn.functional.pad(shifted, (0, samples - shifted.shape[1]))
        # the vocoder takes 3 dB from speech, since it moves the phases of neighbouring frequencies apart
        before, after = (part.square().sum(1, keepdim=True) for part in (waves, shifted))
        return shifted * (before / after.clamp(min=1e-20)).sqrt()


def build(
    *,
    semitones: Annotated[tuple[Annotated[float, Field(ge=-12, le=12)], ...], NotEmpty] = (-2.0, -1.0, 0.0, 1.0, 2.0),
) -> PitchShift:
    """`semitones` are drawn with equal probability; the ratios are rounded to 1 / 100."""
    return PitchShift(semitones)
