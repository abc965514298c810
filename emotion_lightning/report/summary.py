"""The rows of a study's tables: one for each arm and protocol, and one for each pair of arms."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import numpy as np

from emotion_lightning.report import claims
from emotion_lightning.report.collect import Finished, Group, Predictions, Results, pooled
from emotion_lightning.training.significance import (
    METRICS,
    FoldDifference,
    McNemar,
    Tested,
    by_speaker,
    fold_difference,
    holm,
    interval,
    mcnemar,
    paired_interval,
    score,
)

FEWEST_SPEAKERS, FEWEST_FOLDS = 4, 3
"""With fewer speakers or folds, an interval would look more certain than it is."""

NAMES = {"accuracy": "accuracy", "f1": "macro F1", "uar": "UAR"}


@dataclass(frozen=True)
class Figure:
    """Mean and standard deviation over runs (nan for one run), and the interval of the pooled clips (None for few speakers)."""

    mean: float
    std: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Row:
    """One arm under one protocol."""

    group: Group
    figures: dict[str, Figure]  # by metric; empty where no run has finished
    ece: float
    ece_if_calibrated: float  # of a perfectly calibrated model with the same probabilities
    claims: list[claims.Claim]  # on this experiment and these corpora

    def reasons(self) -> list[str]:
        """Returns why cells are missing, each reason once."""
        return list(dict.fromkeys(reason for _, reason in self.group.missing))


@dataclass(frozen=True)
class Pair:
    """Arm a compared with arm b on the runs that both have. Differences are a - b."""

    a: str
    b: str
    protocol: str
    runs: int
    uar: tuple[float, float, float] | None  # (difference, low, high) of the pooled clips, speakers resampled
    mcnemar: McNemar
    adjusted: float  # McNemar's p after Holm's correction over all pairs of the table
    folds: FoldDifference | None  # of UAR, over folds and seeds


def rows(results: Results) -> list[Row]:
    """Returns the rows of the main table, protocol by protocol."""
    published = claims.load()
    return [_row(group, published) for protocol in results.plan.protocols for group in results.under(protocol)]


def _row(group: Group, published: list[claims.Claim]) -> Row:
    own_claims = [] if group.arm.changed else claims.select(published, group.arm.corpora, group.arm.experiment)
    if not group.finished:
        return Row(group, {}, float("nan"), float("nan"), own_claims)
    tested, figures = group.tested(), {}
    for name in METRICS:
        values = [f.scores[name] for f in group.finished]
        spread = stdev(values) if len(values) > 1 else float("nan")
        enough = speakers(tested) >= FEWEST_SPEAKERS
        figures[name] = Figure(fmean(values), spread, interval(tested, name) if enough else None)
    ece, calibrated = (fmean(f.scores[name] for f in group.finished) for name in ("ece", "ece_if_calibrated"))
    return Row(group, figures, ece, calibrated, own_claims)


def pairs(results: Results) -> list[Pair]:
    """Compares each arm with the one that the study names, by default the previous one, if both have runs of the same cells."""
    compared = []
    names = [arm.name for arm in results.plan.arms]
    previous = dict(zip(names[1:], names, strict=False))
    for protocol in results.plan.protocols:
        for a in results.under(protocol):
            b = results.group(a.arm.against or previous.get(a.arm.name, ""), protocol)
            if b and b is not a and (pair := compare(a, b)):
                compared.append(pair)
    return with_holm(compared)


def with_holm(pairs: Sequence[Pair]) -> list[Pair]:
    """Returns the pairs with McNemar's p adjusted for their number."""
    adjusted = holm([pair.mcnemar.p for pair in pairs])
    return [replace(pair, adjusted=p) for pair, p in zip(pairs, adjusted, strict=True)]


def compare(a: Group, b: Group) -> Pair | None:
    """Compares two arms on the folds and seeds in which both tested the same clips; None if there are none.

    An ensemble has no seed, so it is compared with every seed of the other arm.
    """
    any_seed = bool(a.arm.mean_of or b.arm.mean_of)
    both = []
    for ours in a.finished:
        for other in b.finished:
            if ours.cell.fold == other.cell.fold and (any_seed or ours.cell.seed == other.cell.seed):
                pair = ours.predictions.in_order(), other.predictions.in_order()
                if (pair[0].clips, pair[0].classes) == (pair[1].clips, pair[1].classes):
                    both.append(pair)
    if not both:
        return None
    clips = [clip for ours, _ in both for clip in ours.clips]
    once = np.unique(clips, return_index=True)[1]  # a clip that several seeds tested counts once
    tested = [pooled([pair[arm] for pair in both]) for arm in (0, 1)]
    test = mcnemar(*((t.labels == t.predicted)[once] for t in tested))
    uar = paired_interval(tested[0], tested[1], "uar") if speakers(tested[0]) >= FEWEST_SPEAKERS else None
    return Pair(a.arm.label, b.arm.label, a.shown, len(both), uar, test, test.p, _over_folds(both, a.finished[0]))


def _over_folds(both: Sequence[tuple[Predictions, Predictions]], run: Finished) -> FoldDifference | None:
    """Tests the difference over all folds and seeds; those that tested the same clips are averaged first."""
    by_clips: dict[tuple[str, ...], list[list[float]]] = {}
    for pair in both:
        by_clips.setdefault(tuple(pair[0].clips), []).append([_uar(p) for p in pair])
    means = [[fmean(values) for values in zip(*pairs, strict=True)] for pairs in by_clips.values()]
    share = _test_to_train(run)
    if share is None or len(means) < FEWEST_FOLDS:
        return None
    return fold_difference([ours for ours, _ in means], [other for _, other in means], share)


def _uar(predictions: Predictions) -> float:
    return float(score(by_speaker(pooled([predictions])).sum(0), "uar"))


def speakers(tested: Tested) -> int:
    """Returns the number of speakers."""
    return len(np.unique(tested.speakers))


def _test_to_train(finished: Finished) -> float | None:
    """Returns test clips / training clips of a run; None if the run did not log them."""
    counts = {
        tag.value: int(next(t.value for t in data.tags if t.key == "clips"))
        for data in (finished.run.inputs.dataset_inputs if finished.run.inputs else [])
        for tag in data.tags
        if tag.key == "mlflow.data.context"
    }
    return counts["test"] / counts["train"] if {"test", "train"} <= counts.keys() else None
