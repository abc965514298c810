"""The local MLflow store: how it is made, and how a file of a run is read."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy
from mlflow.exceptions import MlflowException

from emotion_lightning.tracking import store
from emotion_lightning.training import kept
from emotion_lightning.training.evaluation import RunResult
from emotion_lightning.training.predictions import read_predictions


def test_a_database_is_in_its_place_once_it_is_whole(tmp_path: Path) -> None:
    """MLflow makes it in hundreds of steps, and cannot go on with one that was killed between two of them."""
    (tmp_path / ".making").mkdir()
    (tmp_path / ".making" / "mlflow.db").write_bytes(b"half a database, left by a kill")
    (tmp_path / ".making" / "mlflow.db-journal").write_bytes(b"and its journal")
    early: list[str] = []

    def look(*of_statement: object) -> None:
        if str(of_statement[2]).lstrip().startswith(("CREATE", "ALTER")) and (tmp_path / "mlflow.db").exists():
            early.append(str(of_statement[2]))

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", look)
    try:
        store.make_local(tmp_path)
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", look)
    assert early == []
    assert {file.name for file in tmp_path.iterdir()} >= {"mlflow.db", ".ready"}
    assert not (tmp_path / ".making").exists()
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert database.execute("SELECT name FROM experiments").fetchall() == [("Default",)]
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_reading_a_file_of_a_run_leaves_no_copy(
    runs: dict[str, RunResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's download leaves one in the system's temporary folder, even if the store is on this machine."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    run = store.find_run(store.connect(), runs["svm"].run_id)
    assert read_predictions(run).clips
    kept.model(run)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MlflowException, match="nothing"), store.artifact(run, "nothing.csv"):
        pass
