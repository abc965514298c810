"""A share of the programs that run at once, and what their judge sees."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from trust import many_at_once
from trust.commands import Ended, run, runs, workplace
from trust.rows import Setting


@pytest.mark.slow
def test_four_runs_at_once_are_those_of_one_alone(tmp_path: Path) -> None:
    (row,) = many_at_once.runs_at_once(Setting(tmp_path, share=0.001), at_once=4)
    assert row.faults == () and row.times == 4


@pytest.mark.slow
def test_the_judge_sees_a_doubled_metric_and_a_lock(tmp_path: Path) -> None:
    folder = workplace(tmp_path / "place", many_at_once.EXPERIMENTS)
    assert run(folder, "train", "vectors").status == 0
    assert many_at_once.doubled(folder) == []
    (only,) = runs(folder)
    with closing(sqlite3.connect(folder / "mlruns" / "mlflow.db")) as database:
        database.execute(
            "INSERT INTO metrics SELECT key, value, timestamp + 1, run_uuid, step, is_nan FROM metrics "
            "WHERE key = 'test/uar' AND run_uuid = ?",
            [only.info.run_id],
        )
        database.commit()
    assert "doubled metric" in many_at_once.doubled(folder)[0]
    assert many_at_once.locked([Ended(0, "", "… database is locked …")])
