"""A signal amid a call to the database."""

import os
import signal
import time
from pathlib import Path

import pytest
import sqlalchemy
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from emotion_lightning.tracking import signals


def test_one_that_came_with_the_last_write_of_all_ends_nothing(tmp_path: Path) -> None:
    said: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda signum, frame: said.append(signum))
    try:
        with signals.raised():
            exec(compile("import os; os.kill(os.getpid(), 15)", "", "exec"), {"__name__": "of.a.sqlalchemy_store"})
        time.sleep(0.2)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert said == []


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "DEFER_SECONDS", 0.1)
    call = "import os, time; os.kill(os.getpid(), 15); time.sleep(30)"
    with pytest.raises(signals.Killed), signals.raised():
        exec(compile(call, "", "exec"), {"__name__": "of.a.sqlalchemy_store"})


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_amid_a_write_waits_until_it_is_written(tmp_path: Path, signum: signal.Signals) -> None:
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run = client.create_run("0").info.run_id
    amid: list[str] = []

    def send(*of_statement: object) -> None:
        if "INSERT INTO metrics" in str(of_statement[2]) and not amid:
            amid.append("once")
            os.kill(os.getpid(), signum)

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", send)
    try:
        with pytest.raises(signals.Killed), signals.raised():
            client.log_batch(run, metrics=[Metric("loss", 0.5, 0, 0)])
            time.sleep(5)  # the signal is sent again
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", send)
    assert amid and client.get_run(run).data.metrics == {"loss": 0.5}
    client.set_terminated(run, "KILLED")  # the database is not locked
    assert client.get_run(run).info.status == "KILLED"
