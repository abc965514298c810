"""Statistics of scores: intervals that resample speakers, and paired tests of two arms. Uses numpy and scipy only.

The scores of one speaker's clips are correlated, so speakers are resampled, not clips. These intervals do not cover the
variation between training seeds or training speakers; `fold_difference` covers a part of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

METRICS = ("accuracy", "f1", "uar")


@dataclass(frozen=True)
class Tested:
    """Test clips of one arm under one protocol, pooled over folds and seeds; a clip occurs once for each run that tested it."""

    labels: NDArray[np.int64]  # (N,), 0…classes - 1
    predicted: NDArray[np.int64]  # (N,), the same
    speakers: NDArray[np.str_]  # (N,)
    classes: int

    def __post_init__(self) -> None:
        if not len(self.labels) == len(self.predicted) == len(self.speakers):
            raise ValueError("labels, predicted and speakers have different lengths")
        named = np.concatenate([self.labels, self.predicted])
        if len(named) and not 0 <= named.min() <= named.max() < self.classes:
            raise ValueError(f"a class outside 0…{self.classes - 1}")


def by_speaker(tested: Tested) -> NDArray[np.int64]:
    """Returns counts (speakers, classes, classes): speakers sorted by name, true class by row, predicted class by column."""
    names, speaker = np.unique(tested.speakers, return_inverse=True)
    counts = np.zeros((len(names), tested.classes, tested.classes), np.int64)
    np.add.at(counts, (speaker, tested.labels, tested.predicted), 1)
    return counts


def score(confusions: NDArray[np.int64], metric: str) -> NDArray[np.float64]:
    """Returns a metric (…,) from counts (…, classes, classes), true class by row, at least one clip each.

    The definitions are those of training/metrics.py: uar averages over the classes that have a clip, f1 also over classes
    that were only predicted.
    """
    if metric not in METRICS:
        raise ValueError(f"no metric '{metric}'; there are: {', '.join(METRICS)}")
    right = np.diagonal(confusions, axis1=-2, axis2=-1)
    clips, guesses = confusions.sum(-1), confusions.sum(-2)
    if metric == "accuracy":
        return right.sum(-1) / clips.sum(-1)
    total = clips if metric == "uar" else (clips + guesses) / 2
    occurs = total > 0
    return (right / np.where(occurs, total, 1)).sum(-1) / occurs.sum(-1)


def interval(
    tested: Tested, metric: str, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """Returns (low, high) of the metric for speakers like these and the same trained models; None for fewer than 2 speakers.

    With 5 speakers or fewer, it reaches about from the worst to the best of them, and covers less than its level.
    """
    counts = by_speaker(tested)
    if len(counts) < 2:
        return None
    return _limits(_redrawn(counts, metric, resamples, seed), len(counts), level)


def paired_interval(
    a: Tested, b: Tested, metric: str, *, level: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float] | None:
    """Returns (a - b, low, high) with the same speakers drawn for both; None for fewer than 2 speakers.

    Raises: ValueError where the arms were not tested on the same clips in the same order.
    """
    if a.classes != b.classes or not np.array_equal(a.labels, b.labels) or not np.array_equal(a.speakers, b.speakers):
        raise ValueError("the arms were tested on different clips, or on the same ones in another order")
    ours, theirs = by_speaker(a), by_speaker(b)
    if len(ours) < 2:
        return None
    differences = _redrawn(ours, metric, resamples, seed) - _redrawn(theirs, metric, resamples, seed)
    return float(score(ours.sum(0), metric) - score(theirs.sum(0), metric)), *_limits(differences, len(ours), level)


def _redrawn(counts: NDArray[np.int64], metric: str, resamples: int, seed: int) -> NDArray[np.float64]:
    """Returns the metric (resamples,) of speakers drawn with replacement; the same seed draws the same speakers."""
    speakers = len(counts)
    times = np.random.default_rng(seed).multinomial(speakers, np.full(speakers, 1 / speakers), resamples)
    return score(np.tensordot(times, counts, 1), metric)


def _limits(values: NDArray[np.float64], speakers: int, level: float) -> tuple[float, float]:
    """Returns expanded percentiles (Hesterberg 2015, The American Statistician 69:371): for a mean, about as wide as Student's t.

    Plain percentiles are too narrow by sqrt((n - 1) / n), and have the tails of the normal distribution instead of t's.
    """
    tail = stats.norm.cdf(-np.sqrt(speakers / (speakers - 1)) * stats.t.ppf((1 + level) / 2, speakers - 1))
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


@dataclass(frozen=True)
class McNemar:
    """The result of McNemar's exact test."""

    only_a: int  # clips that only a classified correctly
    only_b: int
    p: float  # two-sided


def mcnemar(right_a: NDArray[np.bool_], right_b: NDArray[np.bool_]) -> McNemar:
    """Runs McNemar's exact test on (N,) correct answers to the same clips. It assumes independent clips: pass each clip once."""
    a, b = np.stack([right_a, right_b])
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    discordant = only_a + only_b
    return McNemar(only_a, only_b, float(stats.binomtest(only_a, discordant).pvalue) if discordant else 1.0)


def holm(p: Sequence[float]) -> list[float]:
    """Returns p values adjusted for their number by Holm's method (1979), in the given order."""
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(np.sort(p) * np.arange(len(p), 0, -1))
    return [float(value) for value in adjusted.clip(max=1.0)]


@dataclass(frozen=True)
class FoldDifference:
    """The difference of two arms over cells (folds and seeds)."""

    mean: float
    std: float  # of the cells, n - 1
    low: float  # 95 % interval of the mean
    high: float
    p: float  # two-sided
    folds: int  # cells


def fold_difference(a: Sequence[float], b: Sequence[float], test_to_train: float) -> FoldDifference | None:
    """Tests a - b over the same cells by Nadeau and Bengio's corrected t test (2003); None for fewer than 2 cells.

    test_to_train is test clips / training clips: folds that share training clips vary less than independent ones would.
    Average cells that tested the same clips first, because the correction does not cover them.
    """
    differences = np.array([x - y for x, y in zip(a, b, strict=True)])
    if (n := len(differences)) < 2:
        return None
    mean = float(differences.mean())
    if np.ptp(differences) < 1e-12:  # equal but for rounding
        return FoldDifference(mean, 0.0, mean, mean, 1.0 if abs(mean) < 1e-12 else 0.0, n)
    std = float(differences.std(ddof=1))
    error = std * np.sqrt(1 / n + test_to_train)
    reach = float(stats.t.ppf(0.975, n - 1) * error)
    return FoldDifference(mean, std, mean - reach, mean + reach, float(2 * stats.t.sf(abs(mean) / error, n - 1)), n)
