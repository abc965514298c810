"""Trained models at work: probabilities of clips, and models rebuilt from the files that a run keeps."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import BadZipFile

import torch
from numpy import int64
from numpy.typing import NDArray
from torch import Tensor, nn

from emotion_lightning.config import parts
from emotion_lightning.config.schema import Experiment
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.errors import UserError
from emotion_lightning.training import estimator_file
from emotion_lightning.training.classifier import EmotionClassifier
from emotion_lightning.training.estimator import EmotionEstimator
from emotion_lightning.training.hardware import AUTOCAST

Model = EmotionClassifier | EmotionEstimator
UNREADABLE = (
    RuntimeError,
    EOFError,
    BadZipFile,
    zlib.error,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ImportError,
)
"""The errors of torch, zip and skops, by where a file ends and what else is in it."""


class EmotionModel(nn.Module):
    """One network from waveforms to probabilities, in 32 bits, as the model gives them: without calibration.

    Waveforms (B, samples) float32, mono, at the experiment's rate, zero-padded at the end, and their lengths (B,) in samples →
    probabilities (B, classes).
    """

    def __init__(self, classifier: Model):
        """Wraps a model of `from_checkpoint`; a model that was just trained would pull its trainer into the pickle."""
        super().__init__()
        self.classifier = classifier
        self.classes = classifier.classes
        self.used = classifier.feature.used  # start and end in seconds

    def forward(self, waves: Tensor, lengths: Tensor) -> Tensor:
        return self.classifier.probabilities(*self.classifier.feature(waves, lengths))


def probabilities(model: Model, data: EmotionData, index: NDArray[int64]) -> Tensor:
    """Returns the probabilities of these clips, (N, classes) float32 on the CPU, in the precision of the training.

    One process computes all of them on one device: a distributed sampler would repeat clips to fill batches, and scores
    must not change with the number of devices.
    """
    dtype = AUTOCAST.get(model.precision_name)
    result = []
    with (
        torch.inference_mode(),
        torch.autocast(model.device.type, dtype or torch.bfloat16, enabled=dtype is not None),
    ):
        for clips in data.loader(index):
            batch = data.gather(clips, model.device)
            result.append(model.probabilities(batch.stored, batch.valid).cpu())
    return torch.cat(result)


def rebuild(checkpoint: Mapping[str, Any]) -> EmotionClassifier:
    """Rebuilds a classifier from a checkpoint, on the CPU and in evaluation mode."""
    hyperparameters = checkpoint["hyper_parameters"]
    settings = dict(hyperparameters["experiment"])
    if "weights" in settings["model"]:
        settings["model"] = {**settings["model"], "weights": "none"}  # the checkpoint has the weights
    experiment = Experiment.model_validate(settings, strict=False)
    feature = parts.entry("features", experiment.features.name)(
        experiment.audio.sample_rate, **experiment.features.args
    )
    shape, classes = tuple(hyperparameters["shape"]), hyperparameters["classes"]
    network = parts.entry("models", experiment.model.name)(shape, len(classes), **experiment.model.args)
    classifier = EmotionClassifier(experiment, feature, network, shape, classes)
    restore(classifier, checkpoint)
    return classifier.eval()


def restore(classifier: EmotionClassifier, checkpoint: Mapping[str, Any]) -> None:
    """Puts a checkpoint's weights and picture size into the classifier."""
    classifier.on_load_checkpoint(dict(checkpoint))
    classifier.load_state_dict(checkpoint["state_dict"])


def from_checkpoint(file: Path) -> EmotionModel:
    """Rebuilds the model that a run kept: best.ckpt or last.ckpt of a network, best.skops of an estimator.

    Raises: UserError for a file of an earlier version, a damaged one, or one that holds types which are not trusted.
    """
    try:
        if file.suffix == ".ckpt":
            return EmotionModel(rebuild(torch.load(file, map_location="cpu", weights_only=True)))
        return EmotionModel(estimator_file.load(file))
    except UserError:
        raise
    except UnpicklingError as error:  # its message says how to run the code in the file
        raise UserError(
            f"{file.name} of the run is damaged, or holds other things than settings and weights; those are not loaded"
        ) from error
    except UNREADABLE as error:
        raise UserError(f"{file.name} of the run is damaged ({' '.join(str(error).split())[:200]})") from error
