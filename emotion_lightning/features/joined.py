"""Several features of one clip side by side, frame by frame, for a model that combines them.

    features:
      name: joined
      of:
        encoder: {layers: [4], pool: frames, seconds: 4}
        mfcc: {hop: 320, frames: 200}
        prosody: {hop: 320, frames: 200}

All must have the same number of frames and of channels, so the same hop. Their bands are joined in the order of the file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn

from emotion_lightning.config import parts
from emotion_lightning.config.ranges import NotEmpty
from emotion_lightning.config.schema import Parts
from emotion_lightning.errors import UserError
from emotion_lightning.features import Feature


class Joined(Feature):
    """Maps (B, samples) to (B, C, sum of F, T)."""

    def __init__(self, features: dict[str, Feature]):
        super().__init__()
        self.features = nn.ModuleDict(features)
        self.made_of = tuple(features)
        self.used = (min(f.used[0] for f in features.values()), max(f.used[1] for f in features.values()))
        self.pretrained = tuple(origin for f in features.values() for origin in f.pretrained)
        self.requirements = tuple(dict.fromkeys(name for f in features.values() for name in f.requirements))

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Raises: UserError for features of different numbers of channels or frames."""
        computed = {name: feature(waves, lengths) for name, feature in self.features.items()}
        shapes = {name: tuple(x.shape[1:]) for name, (x, _) in computed.items()}
        if len({(channels, frames) for channels, _, frames in shapes.values()}) > 1:
            sizes = ", ".join(f"{name} {shape[0]} and {shape[2]}" for name, shape in shapes.items())
            raise UserError(f"features.of: all need the same number of channels and of frames, and have {sizes}")
        valid = torch.stack([share for _, share in computed.values()]).amin(0)
        return torch.cat([x.float() for x, _ in computed.values()], 2), valid

    def save_weights(self, folder: Path) -> None:
        for name, feature in self._named():
            feature.save_weights(folder / name)

    def load_weights(self, folder: Path) -> None:
        for name, feature in self._named():
            feature.load_weights(folder / name)

    def _named(self) -> Iterator[tuple[str, Feature]]:
        yield from self.features.items()  # type: ignore[misc]


def build(sample_rate: int, *, of: Annotated[Parts, NotEmpty]) -> Joined:
    """`of` has the features by their names, each with its settings.

    Raises: UserError for a picture, whose columns are no frames of sound.
    """
    features = {}
    for name, settings in of.items():
        feature = parts.entry("features", name)(sample_rate, **settings)
        if feature.is_picture:
            raise UserError(f"features.of.{name}: a picture cannot be joined with other features")
        features[name] = feature
    return Joined(features)
