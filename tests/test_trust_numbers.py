"""A short form of `make trust ONLY=numbers`."""

import numpy as np
import pytest

from emotion_lightning.training import significance
from trust import numbers
from trust.numbers import simulated, tests_and_intervals


@pytest.mark.parametrize("label", numbers.CHECKS)
def test_figures_of_random_cases_are_those_of_the_judge(label: str) -> None:
    check, _ = numbers.CHECKS[label]
    for case in range(20):
        assert check(np.random.default_rng((1, case))) == ""


def test_the_judge_sees_a_wrong_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(significance, "holm", lambda p: [min(1.0, len(p) * value) for value in p])
    assert any(tests_and_intervals.holm(np.random.default_rng(case)) for case in range(20))


@pytest.mark.slow
def test_what_is_said_of_studies_holds_as_often_as_it_says() -> None:
    for row in simulated.rates(np.random.default_rng(0), times=200):
        assert row.faults == (), row
