"""Standardises features by the mean and deviation of each speaker's own clips, those of the test split included.

Published figures often do so. It needs many clips of a speaker whose emotion is to be recognised, which nobody has for a new
voice. So runs with `data.normalise_speakers` are marked USES TEST SPEAKERS, and their models cannot predict single files.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.features import valid_frames

Read = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From indices (B,) to stored features (B, C, F, T) and valid shares (B,)."""


class SpeakerNormaliser:
    """Maps stored features (B, C, F, T) of the clips `index` (B,) to float32 features, each speaker standardised."""

    def __init__(self, clips: Sequence[Clip], read: Read):
        """Reads every recorded clip once; rows made by an augmentation get the statistics of their speaker.

        Raises: UserError for clips without a speaker.
        """
        if unknown := sum(not clip.speaker for clip in clips):
            raise UserError(f"data.normalise_speakers: the speaker of {unknown} clips is unknown")
        names = sorted({clip.speaker for clip in clips})
        self.speaker = torch.tensor([names.index(clip.speaker) for clip in clips])
        recorded = torch.tensor([not clip.variant for clip in clips])
        statistics = [_statistics((recorded & (self.speaker == n)).nonzero()[:, 0], read) for n in range(len(names))]
        self.mean, self.deviation = (torch.stack(values) for values in zip(*statistics, strict=True))

    def __call__(self, stored: Tensor, index: Tensor) -> Tensor:
        speaker = self.speaker[index]
        mean, deviation = (of_all[speaker].to(stored.device) for of_all in (self.mean, self.deviation))
        return (stored.float() - mean) / deviation


def _statistics(clips: Tensor, read: Read) -> tuple[Tensor, Tensor]:
    """Returns mean and deviation (C, F, 1) over the clips (N,) and their valid frames; 1 where nothing varies."""
    count, total, squares = torch.zeros(()).double(), torch.zeros(()).double(), torch.zeros(()).double()
    for index in clips.split(64):
        stored, valid = read(index)
        mask = valid_frames(valid, stored.shape[3])[:, None, None]
        x = stored.double() * mask
        count, total, squares = count + mask.sum(), total + x.sum((0, 3)), squares + x.square().sum((0, 3))
    mean = total / count
    variance = squares / count - mean.square()
    deviation = torch.where(variance > 1e-10, variance, 1.0).sqrt()
    return mean.float()[..., None], deviation.float()[..., None]
