"""Scores of groups of test clips, and the pairs of emotions that a model confuses. From predictions alone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import recall_score

from emotion_lightning.training.predictions import Predictions

FIELDS = ("speaker", "sentence", "intensity", "sex", "corpus")
UNKNOWN = "not given"
FEWEST = 4  # clips of a group of its own


@dataclass(frozen=True)
class Group:
    """The scores of the clips with one value of a field."""

    name: str
    clips: int
    accuracy: float
    interval: tuple[float, float]  # 95 %, Wilson
    uar: float  # over the emotions that the group has
    emotions: int


@dataclass(frozen=True)
class Pair:
    """An emotion that was predicted as another one; `share` is that of the clips of the true emotion."""

    true: str
    predicted: str
    count: int
    share: float


def wilson(right: int, clips: int) -> tuple[float, float]:
    """Returns the 95 % interval of a share after Wilson (1927). It assumes that clips are independent."""
    low, high = binomtest(right, clips).proportion_ci(0.95, "wilson")
    return float(low), float(high)


def by_field(predictions: Predictions, field: str) -> list[Group]:
    """Returns the groups of a field, that of the lowest accuracy first; none where all clips have one value.

    Groups of few clips are one group together, since the accuracy of a single clip says nothing.
    """
    values = np.array(predictions.speakers if field == "speaker" else predictions.fields[field])
    if field == "sentence":  # equal for equal words within a corpus only
        corpora = predictions.fields["corpus"]
        several = len(set(corpora)) > 1
        values = np.array([f"{c} {v}" if v and several else v for c, v in zip(corpora, values, strict=True)])
    if len(set(values)) < 2:
        return []
    names, counts = np.unique(values, return_counts=True)
    rare = names[counts < FEWEST]
    if len(rare) > 1:
        values = np.where(np.isin(values, rare), f"{len(rare)} with fewer than {FEWEST} clips each", values)
    groups = [_group(str(value) or UNKNOWN, predictions, values == value) for value in np.unique(values)]
    return sorted(groups, key=lambda group: (group.accuracy, group.name))


def _group(name: str, predictions: Predictions, mask: NDArray[np.bool_]) -> Group:
    labels, predicted = predictions.labels[mask], predictions.predicted[mask]
    right, emotions = int((labels == predicted).sum()), np.unique(labels)
    uar = recall_score(labels, predicted, labels=emotions, average="macro", zero_division=0)
    share, interval = right / len(labels), wilson(right, len(labels))
    return Group(name, len(labels), share, interval, float(uar), len(emotions))


def confused(predictions: Predictions) -> list[Pair]:
    """Returns each pair of true and predicted emotion that occurs, the most frequent first."""
    size = len(predictions.classes)
    counts = np.zeros((size, size), np.int64)
    np.add.at(counts, (predictions.labels, predictions.predicted), 1)
    of_emotion = counts.sum(1)
    pairs = [
        Pair(predictions.classes[i], predictions.classes[j], int(counts[i, j]), float(counts[i, j] / of_emotion[i]))
        for i, j in zip(*np.nonzero(counts), strict=True)
        if i != j
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.share, pair.true, pair.predicted))
