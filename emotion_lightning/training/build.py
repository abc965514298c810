"""Builds the data and the model of an experiment."""

from collections.abc import Iterable
from typing import Any

import torch
from rich.console import Console
from rich.progress import track

from emotion_lightning.config import parts
from emotion_lightning.config.schema import Experiment
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.models import Network
from emotion_lightning.training.classifier import EmotionClassifier
from emotion_lightning.training.estimator import EmotionEstimator
from emotion_lightning.training.inference import Model


def build(experiment: Experiment, console: Console) -> tuple[EmotionData, Model]:
    """Builds and checks every part of the experiment; trains nothing and opens no run.

    Raises: UserError for missing or bad clips, and for settings that do not fit together.
    """

    def with_progress_bar(items: Iterable[Any], title: str, count: int) -> Iterable[Any]:
        return track(items, title, count, console=console, transient=True, disable=not console.is_terminal)

    data = EmotionData(experiment, with_progress_bar)
    data.setup()
    for note in data.notes:
        console.print(f"[yellow]note:[/] {note}")
    with data.access_log.purpose("shape"):
        first = data.gather(torch.tensor([0]), torch.device("cpu"))
    channels, bands, frames = data.feature.present(first.stored).shape[1:]
    shape = (channels, bands, frames)
    model = parts.entry("models", experiment.model.name)(shape, len(data.classes), **experiment.model.args)
    if not isinstance(model, Network):
        return data, EmotionEstimator(experiment, data.feature, model, data.classes)
    classifier = EmotionClassifier(experiment, data.feature, model, shape, data.classes)
    classifier.learn_from(data)
    return data, classifier
