"""openSMILE's functionals: one row of statistics for each clip, the usual baseline of the field.

eGeMAPS has 88 values (Eyben et al. 2016), ComParE 6373 (Schuller et al. 2016). They come from the package `opensmile`:
`pip install 'emotion-lightning[opensmile]'`. **Its licence allows research and education; products need a licence of audEERING.**
"""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from emotion_lightning.errors import UserError
from emotion_lightning.features import Feature

FeatureSet = Literal["eGeMAPSv02", "ComParE_2016"]
SHORTEST = 0.1  # s; a shorter clip is filled with zeros, because openSMILE returns nothing for it


class Functionals(Feature):
    """Maps (B, samples) to (B, 1, values, 1). A value that is not defined for a clip, such as the pitch of a whisper, is 0."""

    requirements = ("opensmile",)

    def __init__(self, sample_rate: int, feature_set: FeatureSet):
        super().__init__()
        self.sample_rate, self.feature_set = sample_rate, feature_set

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        smile, shortest = self._smile(), round(SHORTEST * self.sample_rate)
        rows = []
        for wave, length in zip(waves.cpu().numpy(), lengths.tolist(), strict=True):
            clip = np.pad(wave[:length], (0, max(0, shortest - length)))
            rows.append(np.nan_to_num(smile.process_signal(clip, self.sample_rate).to_numpy(np.float32)[0]))
        stored = torch.from_numpy(np.stack(rows)).to(waves.device)
        return stored[:, None, :, None], torch.ones(len(waves), device=waves.device)

    def _smile(self) -> Any:
        """Returns openSMILE's extractor. It starts a new process of openSMILE for each clip, so threads may share it."""
        try:
            import opensmile
        except ImportError:
            raise UserError(
                "features.functionals: the package opensmile is missing; pip install 'emotion-lightning[opensmile]' "
                "installs it (research and education only)"
            ) from None
        return opensmile.Smile(
            getattr(opensmile.FeatureSet, self.feature_set), opensmile.FeatureLevel.Functionals, num_workers=1
        )


def build(sample_rate: int, *, feature_set: FeatureSet = "eGeMAPSv02") -> Functionals:
    """`feature_set` names openSMILE's set."""
    return Functionals(sample_rate, feature_set)
