"""A short form of the part `bad_settings` of make trust, and its judge."""

from pathlib import Path

import pytest

from emotion_lightning.errors import UserError
from trust.bad_settings import drawn, files, judge, tables
from trust.rows import Setting


def raises(error: Exception) -> object:
    def call() -> None:
        raise error

    return call


def test_the_judge_sees_what_is_no_clear_line() -> None:
    assert judge.fault_of(lambda: None) == ""
    assert judge.fault_of(raises(UserError("mine.yaml: seed: no")), "mine.yaml") == ""
    assert "names neither" in judge.fault_of(raises(UserError("no")), "mine.yaml")
    assert judge.fault_of(raises(UserError("mine.yaml \x1b")), "mine.yaml") == ""  # escaped by the error itself
    assert "not a clear line" in judge.fault_of(raises(UserError("mine.yaml " + "x" * 2_000)), "mine.yaml")
    assert "not a clear line" in judge.fault_of(raises(UserError("")), "mine.yaml")
    assert judge.fault_of(raises(KeyError("x"))).startswith("KeyError")


def test_a_short_form_of_the_fuzzed_tables(in_tmp_path: Path) -> None:
    row = tables.fuzzed(Setting(in_tmp_path, 0.01, seed=1))
    assert row.faults == () and row.times >= 20


@pytest.mark.slow
def test_a_short_form_of_the_files(in_tmp_path: Path) -> None:
    setting = Setting(in_tmp_path, 0.02, seed=2)
    assert drawn.overrides(setting).faults == ()
    assert files.specials().faults == ()
    assert files.every_path(setting).faults == ()
