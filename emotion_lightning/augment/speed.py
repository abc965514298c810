"""Plays each clip at another speed, so that pitch, formants and tempo change together, as if another person spoke.

Source: Ko et al. 2015, Audio Augmentation for Speech Recognition: speeds 0.9, 1.0 and 1.1, drawn for each clip.
"""

import torch
import torchaudio
from torch import Tensor

from emotion_lightning.augment import Augmentation
from emotion_lightning.config.ranges import Speeds

STEPS = 100  # a speed is a multiple of 1 / 100, since the filter grows with the denominator of the ratio


class Speed(Augmentation):
    """Resamples waveforms (B, samples). A slower clip that does not fit into the batch is cut at its end."""

    stage = "waveform"

    def __init__(self, speeds: tuple[float, ...]):
        super().__init__()
        self.speeds = speeds

    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        drawn = torch.randint(len(self.speeds), (len(x),), device=x.device)
        result, lengths = x.clone(), extent.clone()
        for number, speed in enumerate(self.speeds):
            clips = (drawn == number).nonzero()[:, 0]
            if speed == 1 or not len(clips):
                continue
            played = torchaudio.functional.resample(x[clips], round(STEPS * speed), STEPS)[:, : x.shape[1]]
            short = torch.ceil(extent[clips] / speed).clamp(max=x.shape[1]).to(extent.dtype)
            played = torch.nn.functional.pad(played, (0, x.shape[1] - played.shape[1]))
            after = torch.arange(x.shape[1], device=x.device) >= short[:, None]
            result[clips], lengths[clips] = played.masked_fill(after, 0), short
        return result, lengths, targets


def build(*, speeds: Speeds = (0.9, 1.0, 1.1)) -> Speed:
    """`speeds` are drawn with equal probability; they are rounded to 1 / 100."""
    return Speed(speeds)
