"""The harness of `make bench`; the figures themselves are no test's matter."""

import importlib
import inspect
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import document
from benchmarks.timing import HEADER, Row, Setting, Unavailable, in_turns


def test_a_figure_is_the_median_of_the_rounds_ratios_and_not_a_ratio_of_medians() -> None:
    row = Row("step", [10, 20, 90], "clips/s", [10, 40, 30], "bare loop", goal=0.97, guard=1.0)
    assert row.rounds == [1.0, 0.5, 3.0] and row.figure == 1.0
    assert row.meets(row.goal) and row.meets(row.guard) and not row.meets(1.01)
    assert row.cells()[4:] == ("1× [0.5, 3]", "≥ 0.97: reached")


def test_a_most_value_is_met_from_below() -> None:
    row = Row("cold", [17.0, 15.0, 19.0], "s", goal=16, at_most=True)
    assert row.figure == 17.0 and not row.meets(16) and row.meets(17)
    assert row.cells()[5] == "≤ 16: NOT reached"


def test_programs_take_turns_and_the_first_round_is_dropped() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    ours, theirs = in_turns(2, lambda: side("a"), lambda: side("b"))
    assert order == ["a", "b"] * 3 and (ours, theirs) == ([3.0, 5.0], [4.0, 6.0])


def test_a_table_is_put_between_its_marks_and_the_rest_of_the_document_stays(in_tmp_path: Path) -> None:
    written = in_tmp_path / "benchmarks.md"
    written.write_text("# Benchmarks\n\nabove\n\n<!-- a -->\nold\n<!-- /a -->\n\nbelow\n")

    def write(name: str, cell: str) -> None:
        document.write(written, name, ("what", "ours"), [(cell, "1")], "today")

    write("a", "new")
    write("b", "other")
    text = written.read_text()
    places = [text.index(words) for words in ("above", "| new |", "below", "| other |")]
    assert "old" not in text and places == sorted(places)
    write("b", "again")
    assert written.read_text().count("## b") == 1 and "| other |" not in written.read_text()


@pytest.mark.parametrize("name", bench.names())
def test_every_benchmark_says_what_it_measures_and_yields_rows(name: str) -> None:
    module = bench.load(name)
    assert module.__doc__ and list(inspect.signature(module.rows).parameters) == ["setting"]


NEEDY = [
    "cache_features",
    "encoder_states",
    "svm_end_to_end",
    "fastai_epoch",
    "nkululeko_end_to_end",
    "recipe",
    "shared_gpu",
]


@pytest.mark.parametrize("name", NEEDY)
def test_a_missing_requirement_is_reported(name: str, in_tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"DATA=|\.venv-|a GPU"):
        list(importlib.import_module(f"benchmarks.{name}").rows(Setting(None, in_tmp_path)))


@pytest.mark.slow
def test_the_growth_benchmark_runs_at_a_small_size(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    growth = importlib.import_module("benchmarks.growth")
    monkeypatch.setattr(growth, "SIZES", (500, 1000))
    rows = list(growth.rows(Setting(None, in_tmp_path)))
    assert len(rows) == 17 and all(len(row.cells()) == len(HEADER) for row in rows)
    assert [path.name for path in in_tmp_path.iterdir()] == ["tones"]  # 200 000 clips are not left lying
