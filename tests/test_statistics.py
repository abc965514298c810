"""Intervals against simulated studies whose truth is known; scores and tests against scikit-learn, scipy and by hand."""

import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import bootstrap, ttest_rel
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from emotion_lightning.training.significance import (
    METRICS,
    by_speaker,
    fold_difference,
    holm,
    interval,
    mcnemar,
    paired_interval,
    score,
)
from emotion_lightning.training.significance import Tested as Arm  # pytest takes Test… for a class of tests

STUDIES, SPEAKERS = 300, 24
CLIPS = np.array([8, 6, 4, 2])  # of each class, each speaker
EASE = np.array([1.0, 0.9, 0.7, 0.5])  # recall of each class / the speaker's own rate
RATE = 0.6  # mean of the speakers' own rates, Beta(6, 4)
TRUTH = {"accuracy": RATE * float(CLIPS @ EASE) / 20, "uar": RATE * float(EASE.mean())}


def study(chance: np.random.Generator, losses: tuple[float, ...] = (0.0,), speakers: int = SPEAKERS) -> list[Arm]:
    """One arm for each loss: the same speakers with the same luck, each rate times 1 - loss. Other guesses are even."""
    rates = chance.beta(10 * RATE, 10 * (1 - RATE), speakers)
    labels = np.tile(np.repeat(np.arange(4), CLIPS), speakers)
    speaker = np.repeat(np.arange(speakers), CLIPS.sum())
    difficulty = chance.random(len(labels))
    wrong = (labels + chance.integers(1, 4, len(labels))) % 4
    return [
        Arm(
            labels,
            np.where(difficulty < rates[speaker] * EASE[labels] * (1 - loss), labels, wrong),
            np.char.add("speaker ", speaker.astype(str)),
            4,
        )
        for loss in losses
    ]


def interval_over_clips(tested: Arm, metric: str, resamples: int, chance: np.random.Generator) -> tuple[float, float]:
    """The naive bootstrap: clips drawn as if each were of a speaker of its own."""
    shares = by_speaker(tested).sum(0).ravel() / len(tested.labels)
    drawn = chance.multinomial(len(tested.labels), shares, resamples).reshape(-1, 4, 4)
    low, high = np.quantile(score(drawn, metric), [0.025, 0.975])
    return float(low), float(high)


def shuffled(tested: Arm, order: NDArray[np.int64]) -> Arm:
    return Arm(tested.labels[order], tested.predicted[order], tested.speakers[order], tested.classes)


@pytest.mark.parametrize("labelled", [range(6), (0, 2, 3), (4,)])
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
def test_score_is_scikit_learns_also_with_absent_classes_and_many_at_once(labelled: range | tuple[int, ...]) -> None:
    chance = np.random.default_rng(0)
    true, guess = chance.choice(list(labelled), (2, 3, 40)), chance.integers(0, 6, (2, 3, 40))
    guess = np.where(chance.random(guess.shape) < 0.4, true, guess)
    confusions = np.zeros((2, 3, 6, 6), np.int64)
    expected = {metric: np.zeros((2, 3)) for metric in METRICS}
    for at in np.ndindex(2, 3):
        y, z = true[at], guess[at]
        confusions[at] = confusion_matrix(y, z, labels=range(6))
        expected["accuracy"][at] = accuracy_score(y, z)
        expected["f1"][at] = f1_score(y, z, average="macro", zero_division=0)
        expected["uar"][at] = balanced_accuracy_score(y, z)
    for metric in METRICS:
        assert score(confusions, metric) == pytest.approx(expected[metric])
        assert score(confusions[1, 2], metric) == pytest.approx(expected[metric][1, 2])


def test_an_unknown_metric_is_reported() -> None:
    with pytest.raises(ValueError, match="no metric 'wer'; there are: accuracy, f1, uar"):
        score(np.eye(2, dtype=np.int64), "wer")


def test_by_speaker_counts_every_clip_once_for_each_time_it_occurs() -> None:
    tested = Arm(np.array([0, 1, 1, 0, 0]), np.array([0, 1, 0, 1, 1]), np.array(["b", "a", "a", "b", "b"]), 3)
    a, b = by_speaker(tested).tolist()
    assert a == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert b == [[1, 2, 0], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize("predicted", [[0, -1], [0, 2], [0]])
def test_clips_that_cannot_be_counted_are_refused(predicted: list[int]) -> None:
    with pytest.raises(ValueError, match=r"a class outside 0…1|different lengths"):
        Arm(np.array([0, 1]), np.array(predicted), np.array(["a", "b"]), 2)


@pytest.mark.parametrize("metric", TRUTH)
def test_the_interval_covers_the_truth_as_often_as_it_says_and_one_over_clips_does_not(metric: str) -> None:
    chance = np.random.default_rng(5)
    covered, covered_over_clips = 0, 0
    for seed in range(STUDIES):
        (tested,) = study(chance)
        low, high = interval(tested, metric, resamples=600, seed=seed) or (math.nan, math.nan)
        covered += low <= TRUTH[metric] <= high
        low, high = interval_over_clips(tested, metric, 300, chance)
        covered_over_clips += low <= TRUTH[metric] <= high
    assert 0.92 <= covered / STUDIES <= 0.98
    assert covered_over_clips / STUDIES < 0.89


@pytest.mark.parametrize("metric", TRUTH)
def test_the_paired_interval_covers_a_known_difference_and_is_the_narrower_for_pairing(metric: str) -> None:
    chance = np.random.default_rng(6)
    covered, found, paired_width, single_width = 0, 0, 0.0, 0.0
    for seed in range(STUDIES):
        a, b = study(chance, (0.0, 0.1))
        difference, low, high = paired_interval(a, b, metric, resamples=600, seed=seed) or (math.nan,) * 3
        assert low < difference < high
        covered += low <= 0.1 * TRUTH[metric] <= high
        found += low > 0
        paired_width += high - low
        low, high = interval(a, metric, resamples=200, seed=seed) or (math.nan, math.nan)
        single_width += high - low
    assert 0.92 <= covered / STUDIES <= 0.98
    assert found / STUDIES > 0.98
    assert paired_width < 0.6 * single_width


@pytest.mark.parametrize("metric", METRICS)
def test_paired_with_itself_the_difference_is_nothing_and_swapping_the_arms_changes_the_sign(metric: str) -> None:
    a, b = study(np.random.default_rng(1), (0.0, 0.2))
    assert paired_interval(a, a, metric) == (0.0, 0.0, 0.0)
    forth, back = paired_interval(a, b, metric), paired_interval(b, a, metric)
    assert forth is not None and back is not None
    assert forth == pytest.approx([-back[0], -back[2], -back[1]])
    pooled = [float(score(by_speaker(arm).sum(0), metric)) for arm in (a, b)]
    assert forth[0] == pytest.approx(pooled[0] - pooled[1])


def test_arms_on_other_clips_are_not_paired() -> None:
    a, b = study(np.random.default_rng(2), (0.0, 0.1))
    back = np.arange(len(b.labels))[::-1]
    moved = replace(b, labels=np.roll(b.labels, 1)), replace(b, speakers=np.roll(b.speakers, 1))
    for other in (*moved, shuffled(b, back), replace(b, classes=5)):
        with pytest.raises(ValueError, match="different clips"):
            paired_interval(a, other, "uar")


def test_the_interval_is_about_students_t_where_the_figure_is_a_mean() -> None:
    """Speakers of equally many clips: accuracy is the mean of theirs. Plain percentiles are 8 % narrower with 10."""
    rights = np.arange(0, 100, 10)
    labels = np.zeros(1000, np.int64)
    predicted = np.concatenate([np.repeat([0, 1], [right, 100 - right]) for right in rights])
    tested = Arm(labels, predicted, np.repeat(list("abcdefghij"), 100), 2)
    low, high = interval(tested, "accuracy", resamples=50_000) or (math.nan, math.nan)
    reach = 2.262157 * np.std(rights / 100, ddof=1) / math.sqrt(10)  # t(0.975, 9)
    assert (low, high) == pytest.approx((0.45 - reach, 0.45 + reach), abs=0.015)
    narrower = interval(tested, "accuracy", resamples=50_000, level=0.8) or (math.nan, math.nan)
    reach = 1.383029 * np.std(rights / 100, ddof=1) / math.sqrt(10)  # t(0.9, 9)
    assert narrower == pytest.approx((0.45 - reach, 0.45 + reach), abs=0.015)


@pytest.mark.parametrize("metric", METRICS)
def test_where_all_is_right_or_all_wrong_the_interval_is_a_point_without_a_warning(metric: str) -> None:
    (tested,) = study(np.random.default_rng(3))
    perfect = replace(tested, predicted=tested.labels)
    hopeless = replace(tested, predicted=(tested.labels + 1) % 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert interval(perfect, metric) == (1.0, 1.0)
        assert interval(hopeless, metric) == (0.0, 0.0)
        assert paired_interval(perfect, hopeless, metric) == (1.0, 1.0, 1.0)


@pytest.mark.filterwarnings("ignore:The BCa confidence interval", "ignore:invalid value encountered")
def test_the_bca_interval_has_no_answer_there() -> None:
    """Why it is percentiles: scipy's own choice, given the speakers' accuracies, is nan where all clips are right."""
    found = bootstrap((np.ones(SPEAKERS),), np.mean, n_resamples=100, rng=0, method="BCa").confidence_interval
    assert math.isnan(found.low) and math.isnan(found.high)


def test_a_class_that_few_speakers_have_and_two_speakers_alone_give_figures_without_a_warning() -> None:
    rare = Arm(np.array([0, 0, 1, 0, 0]), np.array([0, 1, 1, 2, 0]), np.array(list("aabcd")), 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for metric in METRICS:
            low, high = interval(rare, metric) or (math.nan, math.nan)
            assert 0 <= low < high <= 1
        two = Arm(np.array([0, 0, 0, 0]), np.array([0, 1, 0, 0]), np.array(list("aabb")), 2)
        assert interval(two, "accuracy") == (0.5, 1.0)  # from the one speaker to the other


@pytest.mark.parametrize("clips", [0, 1, 5])
def test_one_speaker_has_no_interval(clips: int) -> None:
    tested = Arm(np.zeros(clips, np.int64), np.zeros(clips, np.int64), np.full(clips, "a"), 2)
    assert interval(tested, "uar") is None
    assert paired_interval(tested, tested, "uar") is None


@pytest.mark.parametrize("metric", METRICS)
def test_one_seed_one_interval_whatever_the_order_of_the_rows(metric: str) -> None:
    a, b = study(np.random.default_rng(4), (0.0, 0.1))
    order = np.random.default_rng(0).permutation(len(a.labels))
    first = interval(a, metric, seed=7)
    assert first is not None
    assert interval(a, metric, seed=7) == first
    assert interval(shuffled(a, order), metric, seed=7) == first
    assert interval(a, metric, seed=8) not in (None, first)
    assert interval(a, metric, seed=8) == pytest.approx(first, abs=0.02)
    assert paired_interval(shuffled(a, order), shuffled(b, order), metric) == paired_interval(a, b, metric)


def rights(both: int, only_a: int, only_b: int, neither: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    counts = [both, only_a, only_b, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_mcnemar_by_hand() -> None:
    """8 against 2: 2 (1 + 10 + 45) / 1024."""
    found = mcnemar(*rights(50, 8, 2, 30))
    assert (found.only_a, found.only_b, found.p) == (8, 2, pytest.approx(112 / 1024))


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (0, 6), (3, 3), (4, 5), (25, 7), (100, 140)])
@pytest.mark.parametrize("concordant", [0, 40])
def test_mcnemar_is_twice_the_smaller_tail_of_the_binomial(only_a: int, only_b: int, concordant: int) -> None:
    n, fewer = only_a + only_b, min(only_a, only_b)
    expected = min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n)
    found = mcnemar(*rights(concordant, only_a, only_b, concordant))
    assert (found.only_a, found.only_b, found.p) == (only_a, only_b, pytest.approx(expected))


def test_mcnemar_refuses_arms_of_different_clips() -> None:
    with pytest.raises(ValueError, match="same shape"):
        mcnemar(np.array([True]), np.array([True, False, True]))


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        (
            [0.01, 0.04, 0.03, 0.005],
            [0.03, 0.06, 0.06, 0.02],
        ),  # Wikipedia, Holm-Bonferroni method: H1 and H4 rejected
        ([0.001, 0.01, 0.02], [0.003, 0.02, 0.02]),
        ([0.6, 0.5, 0.9], [1.0, 1.0, 1.0]),
        ([0.02, 0.02], [0.04, 0.04]),
        ([0.04], [0.04]),
        ([], []),
    ],
)
def test_holm_by_hand(p: list[float], adjusted: list[float]) -> None:
    assert holm(p) == pytest.approx(adjusted)


def test_fold_difference_by_hand() -> None:
    """Differences 1…5 points, test/train 1/4: error sqrt(2.5e-4 (1/5 + 1/4)), t = sqrt 8; p from t(4)'s closed form."""
    found = fold_difference([0.51, 0.62, 0.53, 0.64, 0.55], [0.50, 0.60, 0.50, 0.60, 0.50], 1 / 4)
    assert found is not None
    reach = 2.776445 * math.sqrt(2.5e-4 * 0.45)  # t(0.975, 4)
    assert (found.mean, found.std, found.folds) == (pytest.approx(0.03), pytest.approx(math.sqrt(2.5e-4)), 5)
    assert (found.low, found.high) == pytest.approx((0.03 - reach, 0.03 + reach), abs=1e-7)
    assert found.p == pytest.approx(1 - 2 * (3 / 8) * math.sqrt(8 / 3) * (1 - 8 / 36))


def test_fold_difference_without_overlap_is_the_paired_t_test_and_overlap_makes_it_less_sure() -> None:
    chance = np.random.default_rng(0)
    for folds in (2, 3, 10):
        a, b = chance.normal(0.6, 0.05, folds), chance.normal(0.55, 0.05, folds)
        plain, corrected = fold_difference(a.tolist(), b.tolist(), 0.0), fold_difference(a.tolist(), b.tolist(), 0.25)
        assert plain is not None and corrected is not None
        expected = ttest_rel(a, b)
        assert plain.p == pytest.approx(expected.pvalue)
        assert (plain.low, plain.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
        assert corrected.p > plain.p and corrected.low < plain.low and corrected.high > plain.high


def test_the_correction_keeps_the_rate_of_false_alarms_where_folds_share_what_they_trained_on() -> None:
    """No difference in truth; cells of 5 folds correlate by 1/5 = test / (test + train), as Nadeau and Bengio take it."""
    chance = np.random.default_rng(1)
    alarms = {0.0: 0, 0.25: 0}
    for _ in range(1000):
        cells = math.sqrt(0.2) * chance.normal() + math.sqrt(0.8) * chance.normal(size=5)
        for test_to_train in alarms:
            found = fold_difference(cells.tolist(), [0.0] * 5, test_to_train)
            alarms[test_to_train] += found is not None and found.p < 0.05
    assert 0.03 < alarms[0.25] / 1000 < 0.07
    assert alarms[0.0] / 1000 > 0.1


def test_fold_difference_of_equal_cells_is_certain() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same = fold_difference([0.1, 0.7, 0.3], [0.1, 0.7, 0.3], 0.25)
        ahead = fold_difference([0.3, 0.4, 0.6], [0.2, 0.3, 0.5], 0.25)  # 0.1 but for rounding
    assert same is not None and ahead is not None
    assert (same.mean, same.std, same.low, same.high, same.p) == (0, 0, 0, 0, 1)
    assert (ahead.std, ahead.low, ahead.high, ahead.p) == (0, ahead.mean, ahead.mean, 0)
    assert ahead.mean == pytest.approx(0.1)


def test_fold_difference_needs_two_cells_of_both_arms() -> None:
    assert fold_difference([], [], 0.25) is None
    assert fold_difference([0.5], [0.4], 0.25) is None
    with pytest.raises(ValueError, match="shorter"):
        fold_difference([0.5, 0.6, 0.7], [0.4, 0.5], 0.25)
