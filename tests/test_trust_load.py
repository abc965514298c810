"""A share of the load on a served model, and what its judge sees."""

from pathlib import Path

import pytest

from trust import load
from trust.load import Watched, requests
from trust.load.clients import Tally, wrong
from trust.rows import Setting


@pytest.mark.slow
def test_three_seconds_of_load_have_no_fault(tmp_path: Path) -> None:
    rows = list(load.rows(Setting(tmp_path, share=0.05)))
    assert [row.faults for row in rows] == [()] * 4 and rows[0].times > 10 and rows[1].times > 5


def test_a_wrong_answer_is_seen() -> None:
    chosen = [({"audio": ""}, {"calm": 0.25, "sad": 0.75})]
    good = {"predictions": [{"calm": 0.25, "sad": 0.75}]}
    assert not wrong(200, good, chosen) and not wrong(503, {"error": "try again later"}, chosen)
    for status, content in (
        (200, {"predictions": [{"calm": 0.24, "sad": 0.76}]}),
        (200, {"predictions": []}),
        (400, {"error": "row 0: silent"}),
        (503, {}),
        (500, good),
    ):
        assert wrong(status, content, chosen)


def test_growing_memory_a_traceback_and_open_files_are_seen(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("")
    tally = Tally(latencies=[0.1] * 10)
    flat, growing = (Watched(None, list(megabytes)) for megabytes in ([500] * 9, range(100, 1000, 100)))  # type: ignore[arg-type]
    assert not list(load.outcome(tally, flat, 0, log))[2].faults
    assert "in the last" in list(load.outcome(tally, growing, 0, log))[2].faults[0]
    assert "open files" in list(load.outcome(tally, flat, 9, log))[2].faults[0]
    log.write_text("Traceback (most recent call last)")
    assert "traceback" in list(load.outcome(tally, flat, 0, log))[2].faults[0]


def test_every_hostile_request_is_made_of_a_seed() -> None:
    from random import Random

    for name, kind in requests.KINDS.items():
        first, second = (kind.make(Random(1), 1000) for _ in range(2))
        assert first == second and first, name
