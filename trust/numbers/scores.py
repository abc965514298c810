"""Scores of a test split, against scikit-learn."""

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn import metrics as judge

from emotion_lightning.training import metrics, significance
from trust.numbers.cases import Random, case, differ, first, tested_case


def all_classes(random: Random) -> str:
    labels, shares = case(random)
    predicted = shares.argmax(1)
    ours = metrics.scores(torch.from_numpy(labels), torch.from_numpy(shares))
    present = np.unique(labels)
    recall = judge.recall_score(labels, predicted, labels=present, average="macro", zero_division=0)
    clipped = np.clip(shares.astype(float), 1e-12, None)
    theirs = {
        "accuracy": judge.accuracy_score(labels, predicted),
        "uar": recall,
        "f1": judge.f1_score(labels, predicted, average="macro", zero_division=0),
        "loss": -np.log(clipped[np.arange(len(labels)), labels]).mean(),
        "ece": _ece(labels, shares),
    }
    # ECE is in 32 bits here, so a clip may fall on either side of the edge of a bin
    return first(*(f"{name}: {w}" for name, value in theirs.items() if (w := differ(ours[name], value, 2e-6))))


def _ece(labels: NDArray[np.int64], shares: NDArray[np.float32]) -> float:
    """Computes the calibration error bin by bin, as Guo et al. (2017) write it: bins are open on the left."""
    confidence, right = shares.max(1), shares.argmax(1) == labels
    total = 0.0
    for low, high in zip(np.arange(15) / 15, (np.arange(15) + 1) / 15, strict=True):
        inside = (confidence > np.float32(low)) & (confidence <= np.float32(high))
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].astype(float).mean())
    return total


def per_class(random: Random) -> str:
    labels, shares = case(random)
    classes, predicted = np.arange(shares.shape[1]), shares.argmax(1)
    tensors = torch.from_numpy(labels), torch.from_numpy(shares)
    ours, missing = metrics.per_class(*tensors), ~np.isin(classes, labels)
    arguments = {"labels": classes, "average": None, "zero_division": 0}
    recall = np.where(missing, np.nan, judge.recall_score(labels, predicted, **arguments))
    f1 = np.where(missing, np.nan, judge.f1_score(labels, predicted, **arguments))
    counts = judge.confusion_matrix(labels, predicted, labels=classes)
    return first(
        differ(ours.recall, recall), differ(ours.f1, f1), differ(metrics.confusion(*tensors), counts),
        differ(ours.clips, counts.sum(1)),
    )  # fmt: skip


def by_speaker(random: Random) -> str:
    tested = tested_case(random)
    total = significance.by_speaker(tested).sum(0)
    predicted, labels = tested.predicted, tested.labels
    recall = judge.recall_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)
    f1 = judge.f1_score(labels, predicted, average="macro", zero_division=0)
    theirs = {"accuracy": judge.accuracy_score(labels, predicted), "uar": recall, "f1": f1}
    return first(*(differ(significance.score(total, name), value) for name, value in theirs.items()))
