"""Makes each clip louder or quieter, as if the speaker were nearer to the microphone or farther from it.

It changes features that keep the level of a clip, such as `acoustics` and `encoder`; most are relative to its maximum.
Source: a common augmentation of audio, for example in the library audiomentations.
"""

from torch import Tensor

from emotion_lightning.augment import Augmentation, random_mask, uniform
from emotion_lightning.config.ranges import Decibel, Share
from emotion_lightning.errors import UserError


class Gain(Augmentation):
    """Multiplies waveforms (B, samples). A sample may then exceed full scale; nothing is clipped."""

    stage = "waveform"

    def __init__(self, min_db: float, max_db: float, p: float):
        super().__init__()
        self.min_db, self.max_db, self.p = min_db, max_db, p

    def forward(self, x: Tensor, extent: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        decibel = uniform(self.min_db, self.max_db, x) * random_mask(self.p, x)
        return x * (10 ** (decibel / 20))[:, None], extent, targets


def build(*, min_db: Decibel = -12.0, max_db: Decibel = 12.0, p: Share = 0.5) -> Gain:
    """The gain of each clip is drawn between `min_db` and `max_db`; `p` is the share of clips that are changed.

    Raises: UserError where the first is larger.
    """
    if min_db > max_db:
        raise UserError(f"augment.gain: min_db={min_db} is larger than max_db={max_db}")
    return Gain(min_db, max_db, p)
