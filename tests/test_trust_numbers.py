"""A short form of `make trust ONLY=numbers`."""

from pathlib import Path

import numpy as np
import pytest

from trust import numbers
from trust.rows import Setting


@pytest.mark.parametrize("label", numbers.CHECKS)
def test_figures_of_random_cases_are_those_of_the_judge(label: str) -> None:
    for case in range(20):
        assert numbers.CHECKS[label](np.random.default_rng((1, case))) == ""


def test_the_judge_sees_a_wrong_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numbers.significance, "holm", lambda p: [min(1.0, len(p) * value) for value in p])
    assert any(numbers._holm(np.random.default_rng(case)) for case in range(20))


@pytest.mark.slow
def test_what_is_said_of_studies_holds_as_often_as_it_says(tmp_path: Path) -> None:
    for row in numbers._simulations(Setting(tmp_path, 0.2)):
        assert row.faults == (), row
