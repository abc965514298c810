"""Calibrates probabilities on the validation split: one temperature, sets of emotions, and how many answers to withhold.

Temperature: Guo et al. 2017 (arXiv 1706.04599). Sets of emotions: split conformal prediction with the score 1 − probability of
the true emotion (Sadinle et al. 2019, arXiv 1609.00451). Its promise holds where validation and test clips are exchangeable.
Clips of unseen speakers are not quite, so the coverage on the test split is measured and logged.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from emotion_lightning.training import metrics

SMALLEST = torch.finfo(torch.float32).tiny  # a probability of zero has no logarithm


@dataclass(frozen=True)
class Calibration:
    """What the validation split says of a model's probabilities.

    `temperature` divides log probabilities. `threshold` is the probability that an emotion needs to be in the set of a clip, so
    that the sets contain the true emotion of `coverage` of the clips.
    """

    temperature: float = 1.0
    threshold: float = 0.0
    coverage: float = 0.9

    def apply(self, probabilities: Tensor) -> Tensor:
        """Returns calibrated probabilities, (N, classes) as given; the order of a clip's emotions stays."""
        return (probabilities.clamp(min=SMALLEST).log() / self.temperature).softmax(1)

    def sets(self, calibrated: Tensor) -> Tensor:
        """Returns (N, classes) of bool: the emotions in the set of each clip, always with the most probable one."""
        return (calibrated >= self.threshold) | (calibrated >= calibrated.amax(1, keepdim=True))


def calibrate(labels: Tensor, probabilities: Tensor, coverage: float) -> Calibration:
    """Fits temperature and threshold to the labels (N,) and probabilities (N, classes) of the validation split."""
    # a class without a training clip has no probability at all; its clips would drive the temperature to its limit
    known = probabilities.amax(0)[labels] > 0
    logs = probabilities[known].clamp(min=SMALLEST).log()
    # as if one clip more were wrong: else a few clips that are all right would give any confidence
    fitted = temperature(logs, labels[known], smoothing=1 / (len(logs) + 2)) if known.any() else 1.0
    calibrated = Calibration(fitted).apply(probabilities)
    return Calibration(fitted, _threshold(labels, calibrated, coverage), coverage)


def temperature(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> float:
    """Returns the divisor of (N, classes) logits that gives the least cross-entropy, between 1/100 and 100.

    `smoothing` is the share of a label that is spread over all classes.
    """

    def loss(log_temperature: float) -> float:
        return float(
            torch.nn.functional.cross_entropy(logits / np.exp(log_temperature), labels, label_smoothing=smoothing)
        )

    return float(np.exp(minimize_scalar(loss, bounds=(np.log(0.01), np.log(100)), method="bounded").x))


def _threshold(labels: Tensor, calibrated: Tensor, coverage: float) -> float:
    """Returns the ⌈(N + 1) · coverage⌉-th highest probability of a true emotion; 0, so all emotions, for too few clips."""
    of_label = calibrated.gather(1, labels[:, None])[:, 0].sort(descending=True).values
    rank = math.ceil((len(of_label) + 1) * Fraction(str(coverage)))  # 100 * 0.55 is 55.00000000000001
    return float(of_label[rank - 1]) if rank <= len(of_label) else 0.0


def scores(calibration: Calibration, labels: Tensor, probabilities: Tensor) -> dict[str, float]:
    """Returns what calibration does on clips (N,) with probabilities (N, classes) as the model gives them.

    `ece_calibrated` and `loss_calibrated` are the scores of training/metrics.py afterwards; `set_coverage` is the share of clips
    whose set contains the true emotion, `set_size` the mean number of emotions in a set.
    """
    calibrated = calibration.apply(probabilities)
    sets = calibration.sets(calibrated)
    of_all = metrics.scores(labels, calibrated)
    return {
        "ece_calibrated": of_all["ece"],
        "loss_calibrated": of_all["loss"],
        "set_coverage": float(sets.gather(1, labels[:, None]).float().mean()),
        "set_size": float(sets.sum(1).float().mean()),
    }


@dataclass(frozen=True)
class Answered:
    """What happens if answers below a confidence are withheld; all (N,), from the most confident clip on."""

    confidence: Tensor  # of the least confident clip that is answered
    share: Tensor  # of clips that are answered, 0…1
    accuracy: Tensor  # of the answered clips


def answered(labels: Tensor, calibrated: Tensor) -> Answered:
    """Returns the accuracy for each share of answered clips, for labels (N,) and probabilities (N, classes)."""
    confidence, predicted = calibrated.max(1)
    order = confidence.argsort(descending=True, stable=True)
    counts = torch.arange(1, len(order) + 1)
    right = (predicted == labels)[order].double().cumsum(0)
    return Answered(confidence[order], counts / len(order), right / counts)
