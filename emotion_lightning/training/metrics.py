"""Computes every score that is reported, from labels and probabilities of any number of clips."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_recall,
)


@dataclass(frozen=True)
class PerClass:
    """Scores of each class, all (classes,); recall and F1 of a class without a clip are NaN."""

    recall: Tensor
    f1: Tensor
    clips: Tensor


def scores(labels: Tensor, probabilities: Tensor) -> dict[str, float]:
    """Returns loss, accuracy, f1 (macro), uar and ece for labels (N,) and probabilities (N, classes).

    loss is the mean cross-entropy in nats. uar is the unweighted average recall, the field's main score. f1 and uar
    average over the classes that occur among the labels, as scikit-learn's balanced_accuracy does. ece is the expected
    calibration error (Guo et al. 2017): |confidence − accuracy| over 15 bins of equal width, weighted by clips.
    """
    classes = per_class(labels, probabilities)
    present = classes.clips > 0
    label_probability = probabilities.gather(1, labels[:, None])[:, 0].double()
    return {
        "loss": float(-label_probability.clamp(min=1e-12).log().mean()),
        "accuracy": float(multiclass_accuracy(probabilities, labels, probabilities.shape[1], average="micro")),
        "f1": float(classes.f1[present].mean()),
        "uar": float(classes.recall[present].mean()),
        "ece": float(multiclass_calibration_error(probabilities.float(), labels, probabilities.shape[1], n_bins=15)),
    }


def per_class(labels: Tensor, probabilities: Tensor) -> PerClass:
    """Returns recall, F1 and clips of each class for labels (N,) and probabilities (N, classes)."""
    count = probabilities.shape[1]
    clips = torch.bincount(labels, minlength=count)
    nan = torch.where(clips > 0, 0.0, torch.nan)
    recall = multiclass_recall(probabilities, labels, count, average="none") + nan
    return PerClass(recall, multiclass_f1_score(probabilities, labels, count, average="none") + nan, clips)


def confusion(labels: Tensor, probabilities: Tensor) -> Tensor:
    """Returns (classes, classes) counts: true class by row, predicted class by column."""
    return multiclass_confusion_matrix(probabilities, labels, probabilities.shape[1])
