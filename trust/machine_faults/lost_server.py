"""An MLflow server that is killed during a run and comes back."""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from emotion_lightning.tracking import store
from trust.commands import Command, Ended, figures, run, servers, workplace
from trust.machine_faults.place import Place
from trust.rows import Row, Setting


def under_runs(place: Place, setting: Setting) -> Iterator[Row]:
    chance = random.Random(setting.seed)
    faults, count = [], setting.times(4)
    at_server = place.new()
    at_server.mkdir()
    server = servers().Server(f"sqlite:///{at_server / 'mlflow.db'}", at_server)
    server.start()
    try:
        for number in range(count):
            folder, late, away = workplace(place.new()), chance.uniform(0, 6), chance.uniform(0.5, 8)
            words = ("train", "net", "--cache", str(place.cache), "fit.stages.main.epochs=3")
            command = Command(folder, *words, MLFLOW_TRACKING_URI=server.uri)
            time.sleep(late)
            server.stop()
            time.sleep(away)
            server.start()
            ended = command.ended()
            title = f"case {number}, lost after {late:.1f} s for {away:.1f} s: "
            faults += [title + fault for fault in _at_server(place, folder, words, server, ended)]
    finally:
        server.stop()
    yield Row("MLflow's server killed during a run, and started again", count, tuple(faults))


def _at_server(place: Place, folder: Path, words: tuple[str, ...], server: Any, ended: Ended) -> Iterator[str]:
    """Yields what is wrong at the server once it is back; gives a refused command again."""
    if ended.status:
        if fault := ended.fault():
            yield fault
        ended = run(folder, *words, MLFLOW_TRACKING_URI=server.uri)
    client = server.client()
    found = list(store.runs(client))
    done = [r for r in found if r.info.status == "FINISHED"]
    if ended.status:
        yield f"then: {ended.fault()}"
    elif len(done) != 1 or figures(done[0]) != place.figures["net"]:
        yield f"{len(done)} finished runs at the server, or other figures"
    if list((folder / "mlruns" / "outbox").glob("[!.]*")):
        yield "something is still in the outbox"
    for r in found:
        client.delete_run(r.info.run_id)
