"""The local MLflow store: how it is made."""

import sqlite3
from contextlib import closing
from pathlib import Path

import sqlalchemy

from emotion_lightning.tracking import store


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
