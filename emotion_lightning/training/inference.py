"""A trained classifier as one network from waveforms to probabilities: what MLflow keeps, and what `predict` uses."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emotion_lightning.config import parts
from emotion_lightning.config.schema import Experiment
from emotion_lightning.training import estimator_file
from emotion_lightning.training.classifier import EmotionClassifier
from emotion_lightning.training.estimator import EmotionEstimator


class EmotionModel(nn.Module):
    """(B, samples) float32 mono waveforms at the experiment's rate, all of full length → (B, classes) probabilities."""

    def __init__(self, classifier: EmotionClassifier | EmotionEstimator):
        """`classifier` as `rebuild` gives it: one that was trained drags its trainer into the pickle."""
        super().__init__()
        self.classifier = classifier
        self.classes = classifier.classes

    def forward(self, waves: Tensor) -> Tensor:
        lengths = torch.full((len(waves),), waves.shape[1], device=waves.device)
        return self.classifier.probabilities(*self.classifier.feature(waves, lengths))


def rebuild(checkpoint: Mapping[str, Any]) -> EmotionClassifier:
    """A classifier on the CPU in evaluation mode from what a checkpoint holds of it."""
    hyperparameters = checkpoint["hyper_parameters"]
    tree = dict(hyperparameters["experiment"])
    if "weights" in tree["model"]:
        tree["model"] = {**tree["model"], "weights": "none"}  # its own weights follow
    experiment = Experiment.model_validate(tree, strict=False)
    feature = parts.entry("features", experiment.features.name)(
        experiment.audio.sample_rate, **experiment.features.args
    )
    shape, classes = tuple(hyperparameters["shape"]), hyperparameters["classes"]
    network = parts.entry("models", experiment.model.name)(shape, len(classes), **experiment.model.args)
    classifier = EmotionClassifier(experiment, feature, network, shape, classes)
    classifier.load_state_dict(checkpoint["state_dict"])
    classifier.on_load_checkpoint(dict(checkpoint))
    return classifier.eval()


def from_checkpoint(file: Path) -> EmotionModel:
    """Rebuilds the model that a run kept: best.ckpt or last.ckpt of a network, best.skops of an estimator."""
    if file.suffix in (".skops", ".joblib"):
        return EmotionModel(estimator_file.load(file))
    return EmotionModel(rebuild(torch.load(file, map_location="cpu", weights_only=True)))
