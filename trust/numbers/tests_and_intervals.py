"""Tests and intervals, against formulas by hand, scipy, and the enumeration of all draws."""

import math
from fractions import Fraction
from itertools import combinations_with_replacement

import numpy as np
from scipy import stats

from emotion_lightning.explain import groups
from emotion_lightning.training import significance
from trust.numbers.cases import Random, differ, first, tested_case


def mcnemar(random: Random) -> str:
    """Sums the tail of the binomial in whole numbers."""
    a, b = random.random((2, int(random.integers(1, 300)))) < random.random((2, 1))
    ours, only_a, only_b = significance.mcnemar(a, b), int((a & ~b).sum()), int((~a & b).sum())
    n, least = only_a + only_b, min(only_a, only_b)
    p = min(1.0, 2 * float(Fraction(sum(math.comb(n, i) for i in range(least + 1)), 2**n)))
    return first(differ((ours.only_a, ours.only_b), (only_a, only_b)), differ(ours.p, p, 1e-9))


def holm(random: Random) -> str:
    """Steps down one p value after the other; equal ones among them."""
    p = np.round(random.random(int(random.integers(1, 20))) ** 3, int(random.integers(1, 6)))
    expected, highest = np.zeros(len(p)), 0.0
    for place, number in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - place) * p[number]))
        expected[number] = highest
    return differ(significance.holm(p.tolist()), expected, 1e-12)


def corrected_t(random: Random) -> str:
    """Without shared clips it is the paired t test of scipy; with them, its variance grows by (1/n + share) / (1/n)."""
    n, share = int(random.integers(2, 30)), float(random.choice([0.0, random.uniform(0, 1)]))
    a, b = random.normal(0.6, 0.1, (2, n))
    ours, plain = significance.fold_difference(a.tolist(), b.tolist(), share), stats.ttest_rel(a, b)
    assert ours
    statistic = plain.statistic / math.sqrt(1 + n * share)
    p = 2 * stats.t.cdf(-abs(statistic), n - 1)
    low, high = stats.t.interval(0.95, n - 1, loc=(a - b).mean(), scale=abs((a - b).mean() / statistic))
    return first(differ(ours.p, p, 1e-9), differ((ours.low, ours.high), (low, high), 1e-9))


def wilson(random: Random) -> str:
    clips = int(random.integers(1, 500))
    right = int(random.integers(0, clips + 1))
    z, share = stats.norm.ppf(0.975), right / clips
    middle, reach = share + z**2 / (2 * clips), z * math.sqrt(share * (1 - share) / clips + z**2 / (4 * clips**2))
    expected = [(middle - reach) / (1 + z**2 / clips), (middle + reach) / (1 + z**2 / clips)]
    return differ(groups.wilson(right, clips), expected, 1e-9)


def interval(random: Random) -> str:
    """Enumerates every draw of up to 7 speakers with its probability; 4000 random draws may be off by 4 standard errors."""
    tested = tested_case(random, speakers=int(random.integers(2, 8)))
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
