"""Builds the data and the model of an experiment."""

from collections.abc import Iterable
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from emotion_lightning.config import parts
from emotion_lightning.config.schema import Experiment
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.errors import UserError
from emotion_lightning.models import Network
from emotion_lightning.training.classifier import EmotionClassifier
from emotion_lightning.training.estimator import EmotionEstimator
from emotion_lightning.training.inference import Model


def build(experiment: Experiment, console: Console) -> tuple[EmotionData, Model]:
    """Builds and checks every part of the experiment; trains nothing and opens no run.

    Raises: UserError for missing or bad clips, and for settings that do not fit together.
    """
    data = build_data(experiment, console)
    return data, build_model(data)


def build_data(experiment: Experiment, console: Console) -> EmotionData:
    """Reads the corpora and makes the split; prints what the user should know about them.

    Raises: UserError for missing or bad clips.
    """

    def with_progress_bar(items: Iterable[Any], title: str, count: int) -> Iterable[Any]:
        return track(items, title, count, console=console, transient=True, disable=not console.is_terminal)

    data = EmotionData(experiment, with_progress_bar)
    try:
        data.setup()
    except RuntimeError as error:  # torch's, of a size that is too large or too small
        raise UserError(f"features: {parts.fault('features', experiment.features.name, error)}") from error
    for note in data.notes:
        console.print(f"[yellow]note:[/] {escape(note)}", soft_wrap=True)  # file names may contain [brackets]
    if len(data.classes) < 2:
        raise UserError(
            f"only one emotion is left ({', '.join(data.classes)}); a model needs at least two to tell apart"
        )
    return data


def build_model(data: EmotionData) -> Model:
    """Builds the model of the data's experiment; a network gets its normaliser from the training split.

    Raises: UserError for settings that do not fit together.
    """
    experiment = data.experiment
    with data.access_log.purpose("shape"):
        first = data.gather(torch.from_numpy(data.split.train[:1]), torch.device("cpu"))
    presented = data.feature.present(first.stored)
    if presented.ndim != 4:
        raise UserError(
            f"features/{experiment.features.name}.py: the feature of a batch has the shape {tuple(presented.shape)}, but "
            "(B, C, F, T) is needed"
        )
    channels, bands, frames = presented.shape[1:]
    shape = (channels, bands, frames)
    try:
        model = parts.entry("models", experiment.model.name)(shape, len(data.classes), **experiment.model.args)
        if isinstance(model, Network):
            _require_logits(model, presented, first.valid, len(data.classes), experiment.model.name)
    except (RuntimeError, MemoryError, TypeError) as error:  # of a small feature, or of a large number
        fault = parts.fault("models", experiment.model.name, error)
        raise UserError(f"model: {fault} (the feature has {bands} bands and {frames} frames)") from error
    if not isinstance(model, Network):
        _require_classifier(model, experiment.model.name)
        return EmotionEstimator(experiment, data.feature, model, data.classes)
    classifier = EmotionClassifier(experiment, data.feature, model, shape, data.classes)
    if data.feature.is_picture:
        _require_sizes(classifier, first.stored, first.valid)
    classifier.learn_from(data)
    return classifier


@torch.no_grad()
def _require_sizes(classifier: EmotionClassifier, stored: torch.Tensor, valid: torch.Tensor) -> None:
    """Raises UserError for a network that cannot take the pictures of each stage, which are resized and cut to a square."""
    classifier.eval()
    for name, stage in classifier.experiment.fit.stages.items():
        classifier.size = stage.size
        try:
            classifier(stored, valid)
        except RuntimeError as error:
            shape = " x ".join(map(str, classifier.inputs(stored).shape[2:]))
            fault = parts.fault("models", classifier.experiment.model.name, error)
            raise UserError(f"fit.stages.{name}: {fault} (its pictures have {shape} pixels)") from error
    classifier.size = None
    classifier.train()


@torch.no_grad()
def _require_logits(network: Network, x: torch.Tensor, valid: torch.Tensor, classes: int, name: str) -> None:
    """Raises UserError for a network that does not map one clip (1, C, F, T) to logits (1, classes)."""
    logits = network.eval()(x, valid)
    network.train()
    if tuple(logits.shape) != (1, classes):
        raise UserError(
            f"models/{name}.py: forward returned the shape {tuple(logits.shape)} for one clip, but logits (1, {classes}) are "
            "needed"
        )


def _require_classifier(model: Any, name: str) -> None:
    """Raises UserError for a model that is neither a Network nor a scikit-learn classifier."""
    if hasattr(model, "fit") and (hasattr(model, "predict_proba") or hasattr(model, "decision_function")):
        return
    raise UserError(
        f"models/{name}.py: build returned a {type(model).__name__}; a model is a Network (emotion_lightning.models) or a "
        "scikit-learn classifier with predict_proba or decision_function"
    )
