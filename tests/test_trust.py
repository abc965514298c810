"""The harness of `make trust`, and a short form of each of its parts."""

from pathlib import Path

import pytest

from trust import __main__ as suite
from trust.rows import HEADER, Row, Setting


def test_a_row_names_what_was_lost_and_a_good_one_says_nothing() -> None:
    assert Row("kills", 50).cells() == ("kills", "50", "nothing", "")
    assert Row("kills", 50, ("run a|b", "two\nlines"), "5 min").cells()[2:] == ("2: run a/b; two lines", "5 min")
    assert len(Row("kills", 1).cells()) == len(HEADER)


def test_a_share_of_the_tries_is_at_least_the_smallest_number() -> None:
    assert Setting(Path(), 0.01).times(5000) == 50 and Setting(Path(), 0.01).times(50, least=3) == 3


@pytest.mark.parametrize("name", suite.names())
def test_every_part_says_what_it_tries(name: str) -> None:
    assert suite.load(name).__doc__
