"""EmotionEstimator wraps a scikit-learn classifier as EmotionClassifier wraps a network: features in, probabilities out.

A classifier without `predict_proba` gives decision values. They become probabilities by softmax with one temperature,
fitted on the validation split (Guo et al. 2017), on which a network chooses its epoch as well.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection._search import BaseSearchCV
from torch import Tensor

from emotion_lightning.config.schema import MACHINE_FIT, Experiment, Fit
from emotion_lightning.data.datamodule import FeatureBatch
from emotion_lightning.data.offline_augmentation import offline_augmentations
from emotion_lightning.errors import UserError
from emotion_lightning.features import Feature, valid_frames
from emotion_lightning.training.calibration import temperature
from emotion_lightning.weights import Origin


class EmotionEstimator:
    """Probabilities (B, classes) from stored features; the estimator standardises them itself, not `data.normalise`."""

    trains_in_steps = False
    precision_name = "scikit-learn"
    device_name = "cpu"
    device = torch.device("cpu")

    def __init__(self, experiment: Experiment, feature: Feature, estimator: Any, classes: Sequence[str]):
        """Takes an estimator with scikit-learn's `fit`, and `predict_proba` or `decision_function`.

        Its input is (N, C, F, T) float32 with NaN behind each clip's end.

        Raises: UserError for a setting that has no effect on an estimator.
        """
        _check_settings_have_effect(experiment)
        self.experiment, self.feature, self.estimator, self.classes = experiment, feature, estimator, tuple(classes)
        self.temperature = 1.0

    @property
    def pretrained(self) -> tuple[Origin, ...]:
        """The outside weights that its features are computed with."""
        return self.feature.pretrained

    def fit(self, train: FeatureBatch, val: FeatureBatch, speakers: Sequence[str]) -> None:
        """Fits the estimator on the training split and, where it is needed, the temperature on the validation split.

        A search of scikit-learn gets the `speakers` of the training clips as its groups, so that its own folds are of whole
        speakers where its `cv` is a group splitter.
        """
        self._fit_estimator(train, speakers)
        if not hasattr(self.estimator, "predict_proba"):
            # a class without a training clip has no decision value; one such clip would drive the temperature to its limit
            known = torch.isin(val.labels, torch.from_numpy(np.asarray(self.estimator.classes_)))
            if known.any():
                self.temperature = temperature(self._logits(val.stored, val.valid)[known], val.labels[known])

    def refitted(self, train: FeatureBatch, val: FeatureBatch, speakers: Sequence[str]) -> "EmotionEstimator":
        """Returns a copy that is fitted on both splits, with the temperature of this one; `speakers` are those of both."""
        copy = EmotionEstimator(self.experiment, self.feature, clone(self.estimator), self.classes)
        copy.temperature = self.temperature
        both = (torch.cat(pair) for pair in zip(train, val, strict=True))
        copy._fit_estimator(FeatureBatch(*both), speakers)
        return copy

    def _fit_estimator(self, batch: FeatureBatch, speakers: Sequence[str]) -> None:
        groups = {"groups": speakers} if isinstance(self.estimator, BaseSearchCV) else {}
        self.estimator.fit(self._inputs(batch.stored, batch.valid), batch.labels.numpy(), **groups)

    def probabilities(self, stored: Tensor, valid: Tensor) -> Tensor:
        """Returns (B, classes) float32 for stored features (B, C, F, T) and the share (B,) of time that holds the clip."""
        return (self._logits(stored, valid) / self.temperature).softmax(1)

    def _logits(self, stored: Tensor, valid: Tensor) -> Tensor:
        x, estimator = self._inputs(stored, valid), self.estimator
        if hasattr(estimator, "predict_proba"):
            values = np.log(estimator.predict_proba(x).clip(1e-12))
        else:
            values = estimator.decision_function(x)
            if values.ndim == 1:  # two classes
                values = np.stack([-values, values], 1)
        logits = torch.full((len(x), len(self.classes)), -1e4)  # stays so for a class that training did not have
        logits[:, torch.from_numpy(np.asarray(estimator.classes_))] = torch.from_numpy(values).float()
        return logits

    def _inputs(self, stored: Tensor, valid: Tensor) -> NDArray[np.float32]:
        with torch.no_grad():
            x = self.feature.present(stored)
        return x.masked_fill(~valid_frames(valid, x.shape[-1])[:, None, None], float("nan")).numpy()


def _check_settings_have_effect(experiment: Experiment) -> None:
    name, default = experiment.model.name, Fit()
    for augmentation in experiment.augment.keys() - offline_augmentations(experiment.augment).keys():
        raise UserError(f"augment.{augmentation}: {name} does not train in steps, so only rows can be augmented")
    for field in [f for f in Fit.model_fields if f not in MACHINE_FIT | {"gap_clips", "refit"}]:
        if getattr(experiment.fit, field) != getattr(default, field):
            raise UserError(f"fit.{field}: {name} does not train in steps, so this has no effect; remove it")
