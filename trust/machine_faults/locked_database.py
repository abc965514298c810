"""A database of MLflow that another program holds."""

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from trust.commands import Command, workplace
from trust.machine_faults.place import Place
from trust.rows import Row, Setting


@contextmanager
def _lock(database: Path) -> Iterator[None]:
    """Holds SQLite's lock for writing while the block runs."""
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.rollback()


def under_runs(place: Place, setting: Setting) -> Iterator[Row]:
    chance = random.Random(setting.seed)
    faults, count = [], setting.times(6, least=2)
    for number in range(count):
        folder, for_good = workplace(place.new()), number % 2 == 0
        command = Command(folder, "train", "net", "--cache", str(place.cache))
        time.sleep(chance.uniform(0, 3))
        with _lock(folder / "mlruns" / "mlflow.db"):
            if for_good:
                ended = command.ended()
            else:
                time.sleep(chance.uniform(0.1, 3))
        if not for_good:
            faults += list(place.wrong(folder, "net", command.ended()))
        elif ended.status:
            faults += [fault for fault in [ended.fault()] if fault] + list(place.again(folder, "net", ended))
    yield Row("locked database, for a moment and for good", count, tuple(faults))
