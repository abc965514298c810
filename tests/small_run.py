"""Settings of a run of seconds on a small DEMO corpus."""

from pathlib import Path

from emotion_lightning.config import loader as settings
from emotion_lightning.config.merge import merge, parse_override
from emotion_lightning.config.schema import Experiment

SMALL = {
    "corpora": {"demo": {"speakers": 4, "takes": 1}},
    "protocol": {"name": "speaker_folds", "folds": 3},
    "features": {"name": "picture", "height": 32, "width": 32},
    "augment": {"mixup": {}, "image_transforms": {}},
    "model": {"name": "small_cnn", "width": 8},
    "data": {"batch_size": 16},
    "fit": {"stages": {"small": {"size": 16, "epochs": 1}, "large": {"size": 32, "epochs": 2}}, "gap_clips": 32},
}
SVM = {
    "features": "{name: mfcc, frames: 128}",
    "model": "svm",
    "augment.mixup": "off",
    "augment.image_transforms": "off",
    "fit.stages": "{small: off, large: off, main: {epochs: 20}}",
}
"""Overrides that make an SVM of it."""


def small(cache: Path, **overrides: str) -> Experiment:
    """Returns the experiment with overrides such as `**{"fit.ema": "0.9"}`."""
    tree = merge({}, {**SMALL, "name": "small"}, "test", {})
    for path, value in {"data.cache": str(cache), **overrides}.items():
        tree = merge(tree, parse_override(f"{path}={value}"), "test", {})
    return settings.check(tree)
