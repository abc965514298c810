"""Every figure that a report gives, on random cases: against scikit-learn and scipy, against formulas by hand, and by simulation.

A case is random labels and probabilities: few clips or many, classes without a clip, classes that are never predicted. The
judges share no code with the package. statsmodels is not needed: Holm's and McNemar's formulas are short.
"""

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from sklearn import metrics as judge

from emotion_lightning.explain import groups
from emotion_lightning.training import calibration, metrics, significance
from emotion_lightning.training.significance import Tested
from trust.rows import Row, Setting

CASES = 1000
Random = np.random.Generator
Check = Callable[[Random], str]
"""Draws one case, and returns what is wrong with it, "" for nothing."""


def rows(setting: Setting) -> Iterator[Row]:
    for label, check in CHECKS.items():
        faults = []
        for case in range(times := setting.times(CASES, 5)):
            if wrong := check(np.random.default_rng((setting.seed, case))):
                faults.append(f"case {setting.seed}/{case}: {wrong}")
        yield Row(label, times, tuple(faults), JUDGES[check])
    yield from _simulations(setting)


def _case(random: Random) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns labels (N,) and probabilities (N, classes); some classes have no clip, or are never predicted."""
    clips, classes = int(random.integers(1, 200)), int(random.integers(2, 9))
    labels = random.choice(random.integers(0, classes, random.integers(1, classes + 1)), clips)
    logits = random.normal(0, random.uniform(0.1, 4), (clips, classes))
    logits[np.arange(clips), labels] += random.uniform(0, 3)
    logits[:, random.integers(classes)] -= random.choice([0, 20])
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return labels, (shares / shares.sum(1, keepdims=True)).astype(np.float32)


def _differ(ours: object, theirs: object, within: float = 1e-6) -> str:
    mine, other = np.asarray(ours, float), np.asarray(theirs, float)
    return "" if np.allclose(mine, other, rtol=0, atol=within, equal_nan=True) else f"{ours} instead of {theirs}"


def _first(*wrong: str) -> str:
    return next(filter(None, wrong), "")


def _scores(random: Random) -> str:
    labels, shares = _case(random)
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
    return _first(*(f"{name}: {w}" for name, value in theirs.items() if (w := _differ(ours[name], value, 2e-6))))


def _ece(labels: NDArray[np.int64], shares: NDArray[np.float32]) -> float:
    """Computes the calibration error bin by bin, as Guo et al. (2017) write it: bins are open on the left."""
    confidence, right = shares.max(1), shares.argmax(1) == labels
    total = 0.0
    for low, high in zip(np.arange(15) / 15, (np.arange(15) + 1) / 15, strict=True):
        inside = (confidence > np.float32(low)) & (confidence <= np.float32(high))
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].astype(float).mean())
    return total


def _per_class(random: Random) -> str:
    labels, shares = _case(random)
    classes, predicted = np.arange(shares.shape[1]), shares.argmax(1)
    tensors = torch.from_numpy(labels), torch.from_numpy(shares)
    ours, missing = metrics.per_class(*tensors), ~np.isin(classes, labels)
    arguments = {"labels": classes, "average": None, "zero_division": 0}
    recall = np.where(missing, np.nan, judge.recall_score(labels, predicted, **arguments))
    f1 = np.where(missing, np.nan, judge.f1_score(labels, predicted, **arguments))
    counts = judge.confusion_matrix(labels, predicted, labels=classes)
    return _first(
        _differ(ours.recall, recall), _differ(ours.f1, f1), _differ(metrics.confusion(*tensors), counts),
        _differ(ours.clips, counts.sum(1)),
    )  # fmt: skip


def _tested(random: Random, speakers: int = 0) -> Tested:
    labels, shares = _case(random)
    names = np.array([f"s{n}" for n in random.integers(0, speakers or int(random.integers(2, 12)), len(labels))])
    return Tested(labels, shares.argmax(1), names, shares.shape[1])


def _counted(random: Random) -> str:
    tested = _tested(random)
    total = significance.by_speaker(tested).sum(0)
    predicted, labels = tested.predicted, tested.labels
    recall = judge.recall_score(labels, predicted, labels=np.unique(labels), average="macro", zero_division=0)
    f1 = judge.f1_score(labels, predicted, average="macro", zero_division=0)
    theirs = {"accuracy": judge.accuracy_score(labels, predicted), "uar": recall, "f1": f1}
    return _first(*(_differ(significance.score(total, name), value) for name, value in theirs.items()))


def _temperature(random: Random) -> str:
    """Compares with the best of a fine grid: no divisor of it may give a smaller cross-entropy."""
    labels, shares = _case(random)
    logs, smoothing = np.log(np.clip(shares.astype(float), 1e-30, None)), float(random.choice([0.0, 0.05]))
    ours = calibration.temperature(torch.from_numpy(logs), torch.from_numpy(labels), smoothing)

    def loss(temperature: float) -> float:
        scaled = logs / temperature
        scaled -= np.log(np.exp(scaled - scaled.max(1, keepdims=True)).sum(1, keepdims=True))
        scaled -= logs.max(1, keepdims=True) / temperature
        of_label = scaled[np.arange(len(labels)), labels]
        return -float(((1 - smoothing) * of_label + smoothing * scaled.mean(1)).mean())

    best = min(loss(t) for t in np.geomspace(0.0101, 99, 200))
    return "" if loss(ours) <= best + 1e-4 else f"temperature {ours:.4f} loses {loss(ours):.6f}, the grid {best:.6f}"


def _threshold(random: Random) -> str:
    """Counts in whole numbers: the threshold is the probability of a true emotion that ⌈(N + 1) · coverage⌉ of N reach."""
    labels, shares = _case(random)
    percent = int(random.integers(50, 100))
    if (
        len(labels) > 99 and random.random() < 0.5
    ):  # then (N + 1) · coverage is a whole number, which 100 * 0.55 is not
        labels, shares = labels[:99], shares[:99]
    found = calibration.calibrate(torch.from_numpy(labels), torch.from_numpy(shares), percent / 100)
    calibrated = found.apply(torch.from_numpy(shares)).numpy()
    of_label = np.sort(calibrated[np.arange(len(labels)), labels])[::-1]
    rank = math.ceil((len(labels) + 1) * Fraction(percent, 100))
    expected = of_label[rank - 1] if rank <= len(labels) else 0.0
    sets = found.sets(torch.from_numpy(calibrated)).numpy()
    by_hand = (calibrated >= expected) | (calibrated == calibrated.max(1, keepdims=True))
    return _first(_differ(found.threshold, expected, 0), _differ(sets, by_hand))


def _answered(random: Random) -> str:
    labels, shares = _case(random)
    found = calibration.answered(torch.from_numpy(labels), torch.from_numpy(shares))
    confidence, right = shares.max(1), shares.argmax(1) == labels
    k = int(random.integers(1, len(labels) + 1))
    least = np.sort(confidence)[::-1][k - 1]
    if (confidence == least).sum() > 1:
        return ""  # which of equal clips comes first is free
    chosen = confidence >= least
    return _first(_differ(found.accuracy[k - 1], right[chosen].mean()), _differ(found.share[k - 1], chosen.mean()))


def _mcnemar(random: Random) -> str:
    """Sums the tail of the binomial in whole numbers."""
    a, b = random.random((2, int(random.integers(1, 300)))) < random.random((2, 1))
    ours, only_a, only_b = significance.mcnemar(a, b), int((a & ~b).sum()), int((~a & b).sum())
    n, least = only_a + only_b, min(only_a, only_b)
    p = min(1.0, 2 * float(Fraction(sum(math.comb(n, i) for i in range(least + 1)), 2**n)))
    return _first(_differ((ours.only_a, ours.only_b), (only_a, only_b)), _differ(ours.p, p, 1e-9))


def _holm(random: Random) -> str:
    """Steps down one p value after the other; equal ones among them."""
    p = np.round(random.random(int(random.integers(1, 20))) ** 3, int(random.integers(1, 6)))
    expected, highest = np.zeros(len(p)), 0.0
    for place, number in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - place) * p[number]))
        expected[number] = highest
    return _differ(significance.holm(p.tolist()), expected, 1e-12)


def _corrected_t(random: Random) -> str:
    """Without shared clips it is the paired t test of scipy; with them, its variance grows by (1/n + share) / (1/n)."""
    n, share = int(random.integers(2, 30)), float(random.choice([0.0, random.uniform(0, 1)]))
    a, b = random.normal(0.6, 0.1, (2, n))
    ours, plain = significance.fold_difference(a.tolist(), b.tolist(), share), stats.ttest_rel(a, b)
    assert ours
    statistic = plain.statistic / math.sqrt(1 + n * share)
    p = 2 * stats.t.cdf(-abs(statistic), n - 1)
    low, high = stats.t.interval(0.95, n - 1, loc=(a - b).mean(), scale=abs((a - b).mean() / statistic))
    return _first(_differ(ours.p, p, 1e-9), _differ((ours.low, ours.high), (low, high), 1e-9))


def _wilson(random: Random) -> str:
    clips = int(random.integers(1, 500))
    right = int(random.integers(0, clips + 1))
    z, share = stats.norm.ppf(0.975), right / clips
    middle, reach = share + z**2 / (2 * clips), z * math.sqrt(share * (1 - share) / clips + z**2 / (4 * clips**2))
    expected = [(middle - reach) / (1 + z**2 / clips), (middle + reach) / (1 + z**2 / clips)]
    return _differ(groups.wilson(right, clips), expected, 1e-9)


def _interval(random: Random) -> str:
    """Enumerates every draw of up to 7 speakers with its probability; 4000 random draws may be off by 4 standard errors."""
    tested = _tested(random, speakers=int(random.integers(2, 8)))
    names, right = np.unique(tested.speakers), tested.labels == tested.predicted
    ours, n = significance.interval(tested, "uar", resamples=4000), len(names)
    if n < 2:
        return "" if ours is None else "an interval over one speaker"
    assert ours
    of = [[(tested.speakers == name) & (tested.labels == c) for c in range(tested.classes)] for name in names]
    clips, hits = (
        np.array([[m.sum() for m in row] for row in of]),
        np.array([[right[m].sum() for m in row] for row in of]),
    )
    times = np.array([np.bincount(d, minlength=n) for d in combinations_with_replacement(range(n), n)])
    drawn = times @ clips
    recall = np.where(drawn > 0, times @ hits / np.maximum(drawn, 1), np.nan)
    values, shares = np.nanmean(recall, axis=1), stats.multinomial.pmf(times, n, np.full(n, 1 / n))
    tail = stats.norm.cdf(math.sqrt(n / (n - 1)) * stats.t.ppf(0.025, n - 1))
    for end, rank in zip(ours, (tail, 1 - tail), strict=True):
        below, up_to = (float(shares[values < end + d].sum()) for d in (-1e-9, 1e-9))
        off = [4 * math.sqrt(max(share * (1 - share), 0) / 4000) + 1 / 4000 for share in (below, up_to)]
        if not below - off[0] <= rank <= up_to + off[1]:
            return f"{end} has rank {below:.4f} to {up_to:.4f} instead of {rank:.4f}"
    return ""


CHECKS: dict[str, Check] = {
    "accuracy, UAR, macro F1, cross-entropy, calibration error": _scores,
    "recall, F1 and confusions of each class": _per_class,
    "the same scores from counts by speaker": _counted,
    "temperature": _temperature,
    "threshold and sets of emotions": _threshold,
    "accuracy of the answered share": _answered,
    "McNemar's exact test": _mcnemar,
    "Holm's correction": _holm,
    "Nadeau and Bengio's corrected t test": _corrected_t,
    "Wilson's interval": _wilson,
    "bootstrap over speakers": _interval,
}
JUDGES: dict[Check, str] = {
    _scores: "scikit-learn; numpy bin by bin",
    _per_class: "scikit-learn",
    _counted: "scikit-learn",
    _temperature: "a grid of 200 temperatures",
    _threshold: "fractions of whole numbers",
    _answered: "numpy",
    _mcnemar: "binomial tail in whole numbers",
    _holm: "by hand",
    _corrected_t: "scipy's paired t test",
    _wilson: "by hand",
    _interval: "all draws, enumerated",
}


def _simulations(setting: Setting) -> Iterator[Row]:
    """Repeats studies whose truth is known, and counts how often a statement about them holds."""
    times = setting.times(CASES, 200)
    random = np.random.default_rng(setting.seed)
    studies = [_study(random) for _ in range(times)]
    for metric, truth in TRUTH.items():
        ends = [significance.interval(study[0], metric, resamples=1000) for study in studies]
        held = [end is not None and end[0] <= truth <= end[1] for end in ends]
        yield _rate(f"95 % interval of {metric} contains the true one, {SPEAKERS} speakers", held, 0.95, 0.93)
    pairs = [significance.paired_interval(a, b, "uar", resamples=1000) for a, b in studies]
    held = [pair is not None and pair[1] <= 0 <= pair[2] for pair in pairs]
    yield _rate("95 % interval of the difference of two equal arms contains 0", held, 0.95, 0.93)
    alarms = [significance.mcnemar(*(random.random((2, 200)) < 0.6)).p <= 0.05 for _ in range(times)]
    yield _rate("McNemar's p is at most 0.05 for two equal arms", alarms, 0.05, 0, 0.05)
    families = [min(significance.holm(random.random(10).tolist())) <= 0.05 for _ in range(times)]
    yield _rate("Holm: one of ten true null hypotheses is rejected at 0.05", families, 0.05, 0, 0.05)
    cells = random.normal(0, 1, (times, 2, 10))
    found = [significance.fold_difference(a.tolist(), b.tolist(), 0.0) for a, b in cells]
    yield _rate(
        "corrected t: p is at most 0.05 for equal arms, independent cells",
        [f.p <= 0.05 for f in found if f],
        0.05,
        0.05,
        0.05,
    )
    for clips in (30, 100, 400):
        covered = [_covered(random, clips) for _ in range(times)]
        yield _mean(f"sets made for 90 % contain the true emotion; {clips} validation clips", covered, 0.9)


SPEAKERS = 24
CLIPS = np.array([8, 6, 4, 2])  # of each emotion, each speaker
EASE = np.array([1.0, 0.9, 0.7, 0.5])  # recall of each emotion / the speaker's own rate
RATE = 0.6  # mean of the speakers' rates, Beta(6, 4)
TRUTH = {"accuracy": RATE * float(CLIPS @ EASE) / CLIPS.sum(), "uar": RATE * float(EASE.mean())}


def _study(random: Random) -> tuple[Tested, Tested]:
    """Draws speakers with rates of their own, and two arms that are equally good at their clips."""
    rates = random.beta(10 * RATE, 10 * (1 - RATE), SPEAKERS)
    labels = np.tile(np.repeat(np.arange(4), CLIPS), SPEAKERS)
    speaker = np.repeat(np.arange(SPEAKERS), CLIPS.sum())
    names = np.char.add("s", speaker.astype(str))

    def arm() -> Tested:
        right = random.random(len(labels)) < rates[speaker] * EASE[labels]
        wrong = (labels + random.integers(1, 4, len(labels))) % 4
        return Tested(labels, np.where(right, labels, wrong), names, 4)

    return arm(), arm()


def _covered(random: Random, clips: int) -> float:
    """Calibrates on clips, and returns the share of 500 other clips of the same kind whose set has the true emotion."""
    spread = random.uniform(1, 3)

    def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        logits = random.normal(0, spread, (count, 6))
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        labels = (random.random((count, 1)) > shares.cumsum(1)).sum(1).clip(max=5)
        sharper = np.exp(1.7 * logits)  # the model is too sure of itself
        return torch.from_numpy(labels), torch.from_numpy(sharper / sharper.sum(1, keepdims=True))

    scale = calibration.calibrate(*drawn(clips), 0.9)
    labels, shares = drawn(500)
    return float(scale.sets(scale.apply(shares)).gather(1, labels[:, None]).double().mean())


def _rate(label: str, held: list[bool], nominal: float, least: float, most: float = 1.0) -> Row:
    """Judges a rate: from `least` to `most`, with 3 standard errors of the number of tries."""
    rate, slack = float(np.mean(held)), 3 * math.sqrt(nominal * (1 - nominal) / len(held))
    wrong = () if least - slack <= rate <= most + slack else (f"in {rate:.1%}",)
    return Row(label, len(held), wrong, f"in {rate:.1%}; nominal {nominal:.0%}")


def _mean(label: str, shares: list[float], least: float) -> Row:
    mean, error = float(np.mean(shares)), float(np.std(shares)) / math.sqrt(len(shares))
    wrong = (f"in {mean:.2%}",) if mean < least - 3 * error else ()
    return Row(label, len(shares), wrong, f"in {mean:.2%}; nominal {least:.0%}")
