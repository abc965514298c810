"""Adds white noise, with a signal-to-noise ratio drawn for each clip."""

import torch
from torch import Tensor

from emotion_lightning.augment import Augmentation, random_mask, uniform
from emotion_lightning.config.ranges import Decibel, Share
from emotion_lightning.errors import UserError


class Noise(Augmentation):
    """Adds noise to waveforms (B, samples). The zeros after the end of a clip stay zero."""

    stage = "waveform"

    def __init__(self, min_snr_db: float, max_snr_db: float, p: float):
        super().__init__()
        self.min_snr_db, self.max_snr_db, self.p = min_snr_db, max_snr_db, p

    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        valid = torch.arange(x.shape[-1], device=x.device) < extent[:, None]
        power = x.square().sum(1) / extent
        level = (power / 10 ** (uniform(self.min_snr_db, self.max_snr_db, x) / 10)).sqrt() * random_mask(self.p, x)
        return x + torch.randn_like(x) * level[:, None] * valid, extent, targets


def build(*, min_snr_db: Decibel = 10.0, max_snr_db: Decibel = 30.0, p: Share = 0.5) -> Noise:
    """The ratio of signal to noise is drawn between `min_snr_db` and `max_snr_db`.

    Raises: UserError where the first is larger.
    """
    if min_snr_db > max_snr_db:
        raise UserError(f"augment.noise: min_snr_db={min_snr_db} is larger than max_snr_db={max_snr_db}")
    return Noise(min_snr_db, max_snr_db, p)
