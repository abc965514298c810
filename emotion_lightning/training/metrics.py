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

from emotion_lightning.errors import UserError

BINS = 15  # of equal width, for the calibration error
GROUP_FIELDS = ("corpus", "sex", "intensity")
"""The fields of a clip by which scores are grouped, in a run and in a report."""


@dataclass(frozen=True)
class PerClass:
    """Scores of each class, all (classes,); recall and F1 of a class without a clip are NaN."""

    recall: Tensor
    f1: Tensor
    clips: Tensor


def scores(labels: Tensor, probabilities: Tensor) -> dict[str, float]:
    """Returns loss, accuracy, f1 (macro), uar and ece for labels (N,) and probabilities (N, classes).

    loss is the mean cross-entropy in nats. uar is the unweighted average recall, the field's main score: over the classes
    of the labels, as scikit-learn's balanced_accuracy. f1 is scikit-learn's macro average: over the classes of the labels and
    of the predictions, where a class that was only predicted counts 0. ece is the expected calibration error (Guo et al.
    2017): |confidence − accuracy| over 15 bins of equal width, weighted by clips. On few clips it is mostly chance: compare
    it with `ece_if_calibrated`.

    Raises: UserError for probabilities that are not finite.
    """
    if bad := int((~torch.isfinite(probabilities)).any(1).sum()):
        raise UserError(
            f"the model's probabilities are not finite (NaN or infinite) for {bad} of {len(labels)} clips: its training has "
            "diverged, try a lower learning rate"
        )
    classes = per_class(labels, probabilities)
    present = classes.clips > 0
    occurs = present | (torch.bincount(probabilities.argmax(1), minlength=len(present)) > 0)
    label_probability = probabilities.gather(1, labels[:, None])[:, 0].double()
    return {
        "loss": float(-label_probability.clamp(min=1e-12).log().mean()),
        "accuracy": float(multiclass_accuracy(probabilities, labels, probabilities.shape[1], average="micro")),
        "f1": float(classes.f1[occurs].nan_to_num(0).mean()),
        "uar": float(classes.recall[present].mean()),
        "ece": float(
            multiclass_calibration_error(probabilities.float(), labels, probabilities.shape[1], n_bins=BINS)
        ),
    }


def per_class(labels: Tensor, probabilities: Tensor) -> PerClass:
    """Returns recall, F1 and clips of each class for labels (N,) and probabilities (N, classes)."""
    count = probabilities.shape[1]
    clips = torch.bincount(labels, minlength=count)
    nan = torch.where(clips > 0, 0.0, torch.nan)
    recall = multiclass_recall(probabilities, labels, count, average="none") + nan
    return PerClass(recall, multiclass_f1_score(probabilities, labels, count, average="none") + nan, clips)


def ece_if_calibrated(probabilities: Tensor, draws: int = 200) -> float:
    """Returns the ECE that a perfectly calibrated model with these probabilities (N, classes) would have on N clips.

    It is not 0, because in each bin the accuracy of few clips differs from the confidence by chance. It is the mean over
    simulations in which each clip is right with the probability of its confidence; the same input gives the same value.
    """
    confidence = (
        probabilities.max(1).values.double().cpu().sort().values
    )  # so that the order of the clips has no effect
    bins = torch.bucketize(confidence, torch.linspace(0, 1, BINS + 1, dtype=torch.float64)[1:-1])
    random = torch.Generator().manual_seed(0)
    total = 0.0
    for _ in range(draws):
        correct = torch.rand(len(confidence), generator=random, dtype=torch.float64) < confidence
        excess = torch.zeros(BINS, dtype=torch.float64).index_add_(0, bins, correct.double() - confidence)
        total += float(excess.abs().sum())
    return total / draws / len(confidence)


def confusion(labels: Tensor, probabilities: Tensor) -> Tensor:
    """Returns (classes, classes) counts: true class by row, predicted class by column."""
    return multiclass_confusion_matrix(probabilities, labels, probabilities.shape[1])
