"""Every figure that a report gives, on random cases: against scikit-learn and scipy, against formulas by hand, and by simulation.

A case is random labels and probabilities: few clips or many, classes without a clip, classes that are never predicted. The
judges share no code with the package. statsmodels is not needed: Holm's and McNemar's formulas are short.
"""

from collections.abc import Callable, Iterator

import numpy as np

from trust.numbers import calibrated, scores, simulated, tests_and_intervals
from trust.numbers.cases import Random
from trust.rows import Row, Setting

CASES = 1000
Check = Callable[[Random], str]
"""Draws one case, and returns what is wrong with it, "" for nothing."""

CHECKS: dict[str, tuple[Check, str]] = {
    "accuracy, UAR, macro F1, cross-entropy, calibration error": (
        scores.all_classes,
        "scikit-learn; numpy bin by bin",
    ),
    "recall, F1 and confusions of each class": (scores.per_class, "scikit-learn"),
    "the same scores from counts by speaker": (scores.by_speaker, "scikit-learn"),
    "temperature": (calibrated.temperature, "a grid of 200 temperatures"),
    "threshold and sets of emotions": (calibrated.threshold, "fractions of whole numbers"),
    "accuracy of the answered share": (calibrated.answered, "numpy"),
    "McNemar's exact test": (tests_and_intervals.mcnemar, "binomial tail in whole numbers"),
    "Holm's correction": (tests_and_intervals.holm, "by hand"),
    "Nadeau and Bengio's corrected t test": (tests_and_intervals.corrected_t, "scipy's paired t test"),
    "Wilson's interval": (tests_and_intervals.wilson, "by hand"),
    "bootstrap over speakers": (tests_and_intervals.interval, "all draws, enumerated"),
}
"""Each check, and the judge that it asks."""


def rows(setting: Setting) -> Iterator[Row]:
    for label, (check, judge) in CHECKS.items():
        faults = []
        for case in range(times := setting.times(CASES, 5)):
            if wrong := check(np.random.default_rng((setting.seed, case))):
                faults.append(f"case {setting.seed}/{case}: {wrong}")
        yield Row(label, times, tuple(faults), judge)
    yield from simulated.rates(np.random.default_rng(setting.seed), setting.times(CASES, 200))
