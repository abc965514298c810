"""A team's tracking server, MLflow over PostgreSQL: what reaches it, while it is there, away for a while, away for good."""

import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from conftest import hiss
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from processes import Command, finished, has_checkpoint, runs, start, until
from servers import Server, free_port, postgres, programs
from test_run_study import STUDY, prepared, table
from test_train_processes import write_small

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(programs() is None, reason="PostgreSQL is not installed (apt-get install postgresql)"),
]
LONG = {"fit.stages.large.epochs": "30", "model.width": "32"}
Facts = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg2", reason="psycopg2-binary is not installed (the dev extra)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user where we are root
        with postgres(folder) as database:
            server = Server(database, folder)
            server.start()
            yield server
            server.stop()


@pytest.fixture
def up(server: Server) -> Server:
    """The server, started again if a test before has left it stopped."""
    if not server.answers():
        server.stop()
        server.start()
    return server


def at(server: Server, folder: Path, *words: str, **variables: str) -> Command:
    return start(folder, *words, MLFLOW_TRACKING_URI=server.uri, **variables)


def its_run(server: Server, name: str) -> Run:
    """The one run of this name; each test names its experiment differently."""
    client = server.client()
    places = [e.experiment_id for e in client.search_experiments()]
    (run,) = client.search_runs(places, f"tags.experiment = '{name}'")
    return run


def facts(client: MlflowClient, run: Run) -> Facts:
    """What must be the same wherever the run was written: not times, places, and speeds."""
    timed = ("seconds", "clips_per_second", "system/")
    histories = {
        name: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
        if not name.startswith(timed)
    }
    own = ("mlflow.", "git/", "machine/process", "copy_of")
    return {
        "status": run.info.status,
        "metrics": histories,
        "params": {k: v for k, v in run.data.params.items() if k not in ("name", "data.cache")},
        "tags": {k: v for k, v in run.data.tags.items() if not k.startswith(own) and k != "experiment"},
        "data": sorted((d.dataset.digest, d.dataset.name) for d in run.inputs.dataset_inputs),
        "files": sorted(artifacts(client, run)),
        "models": len(run.outputs.model_outputs),
    }


def artifacts(client: MlflowClient, run: Run, folder: str | None = None) -> Iterator[str]:
    for item in client.list_artifacts(run.info.run_id, folder):
        if item.is_dir:
            yield from artifacts(client, run, item.path)
        else:
            yield item.path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Facts:
    """The long run, in the store of its own folder."""
    folder = tmp_path_factory.mktemp("undisturbed")
    finished(start(folder, "train", write_small(folder, demo_data, **LONG)))
    (run,) = runs(folder)
    return facts(MlflowClient(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}"), run)


def write_named(folder: Path, cache: Path, name: str) -> str:
    write_small(folder, cache, store=False, **LONG)
    (folder / "small.yaml").rename(folder / f"{name}.yaml")
    return f"{name}.yaml"


def outbox(folder: Path) -> list[Path]:
    return list((folder / "mlruns" / "outbox").glob("[!.]*"))


def test_a_run_at_the_server_has_all_that_it_has_in_a_local_store(
    up: Server, tmp_path: Path, demo_data: Path, undisturbed: Facts
) -> None:
    said = finished(at(up, tmp_path, "train", write_named(tmp_path, demo_data, "plain")))
    run = its_run(up, "plain")
    assert facts(up.client(), run) == undisturbed
    assert f"{up.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}" in said
    assert outbox(tmp_path) == [] and not (tmp_path / "mlruns" / "mlflow.db").exists()
    (output,) = run.outputs.model_outputs
    mlflow.set_tracking_uri(up.uri)
    model = mlflow.pyfunc.load_model(f"models:/{output.model_id}")
    assert model.metadata.run_id == run.info.run_id and model.metadata.model_id == output.model_id
    answer = model.predict([{"samples": hiss().astype(np.float32), "rate": 16_000}])
    assert answer[model.metadata.metadata["classes"]].to_numpy().sum() == pytest.approx(1, abs=1e-5)


def test_a_run_killed_at_the_server_goes_on_there(
    up: Server, tmp_path: Path, demo_data: Path, undisturbed: Facts
) -> None:
    name = write_named(tmp_path, demo_data, "killed")
    first = at(up, tmp_path, "train", name)
    until(lambda: has_checkpoint(tmp_path), first)
    first.kill()
    first.communicate()
    assert first.returncode == -signal.SIGKILL
    run = its_run(up, "killed")
    assert run.info.status == "RUNNING" and len(outbox(tmp_path)) == 1
    finished(at(up, tmp_path, "train", name, "--resume", run.info.run_id[:10]))
    assert facts(up.client(), its_run(up, "killed")) == undisturbed
    assert outbox(tmp_path) == []


def test_a_server_that_hangs_and_then_dies_has_every_epoch_once_when_it_is_back(
    up: Server, tmp_path: Path, demo_data: Path, undisturbed: Facts
) -> None:
    process = at(up, tmp_path, "train", write_named(tmp_path, demo_data, "away"), MLFLOW_HTTP_REQUEST_TIMEOUT="3")
    until(lambda: has_checkpoint(tmp_path), process)
    up.signal(signal.SIGSTOP)  # takes connections and never answers
    time.sleep(20)
    up.signal(signal.SIGCONT)
    time.sleep(2)
    up.stop()
    time.sleep(8)
    up.start()
    said = finished(process)
    assert "the MLflow server accepts no data" in said and "the MLflow server is back" in said
    run = its_run(up, "away")
    assert facts(up.client(), run) == undisturbed
    assert outbox(tmp_path) == []
    ended = sorted(m.timestamp for m in up.client().get_metric_history(run.info.run_id, "loss/val"))
    assert max(b - a for a, b in pairwise(ended)) < 15_000  # ms; the server hung for 20 s, and no epoch waited for it


def test_a_run_whose_server_stays_away_is_whole_on_disk_and_is_imported_once(
    up: Server, tmp_path: Path, demo_data: Path, undisturbed: Facts
) -> None:
    process = at(up, tmp_path, "train", write_named(tmp_path, demo_data, "orphan"), EMOTION_SERVER_WAIT="2")
    until(lambda: has_checkpoint(tmp_path), process)
    up.stop()
    said = finished(process)
    (folder,) = outbox(tmp_path)
    assert f"make import RUN=mlruns/outbox/{folder.name}" in said and "Traceback" not in said
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    (kept,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert facts(client, kept) == undisturbed
    shutil.copytree(folder, spare := tmp_path / "spare" / folder.name)

    up.start()
    assert its_run(up, "orphan").info.status == "RUNNING"
    finished(at(up, tmp_path, "import-run", str(folder)))
    run = its_run(up, "orphan")
    assert run.info.run_id == folder.name and run.info.end_time == kept.info.end_time
    assert facts(up.client(), run) == undisturbed and not folder.exists()

    shutil.copytree(spare, folder)
    finished(at(up, tmp_path, "import-run", str(folder)))
    assert facts(up.client(), its_run(up, "orphan")) == undisturbed

    up.client().delete_run(run.info.run_id)  # a server that has no run of this id gets one new run, not two
    for place in ("moved", "moved again"):
        shutil.copytree(spare, moved := tmp_path / place / folder.name)
        finished(at(up, tmp_path, "import-run", str(moved)))
        new = its_run(up, "orphan")
        assert new.info.run_id != folder.name and new.info.start_time == kept.info.start_time
        assert facts(up.client(), new) == undisturbed


def test_a_study_its_report_and_a_comparison_work_at_the_server(up: Server, tmp_path: Path, demo_data: Path) -> None:
    folder = prepared(tmp_path, demo_data, {**STUDY, "protocols": {"speaker_folds": {"folds": 2}}}, store=False)
    finished(at(up, folder, "study", "tiny", "--jobs", "2"))
    before = table(folder)
    assert before.count("tiny_svm") and before.count("tiny_cnn")
    client = up.client()
    places = [e.experiment_id for e in client.search_experiments()]
    (parent,) = client.search_runs(places, "tags.kind = 'study'")
    cells = client.search_runs(places, f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    assert [parent.info.status, *(run.info.status for run in cells)] == ["FINISHED"] * 5
    shutil.rmtree(folder / "reports")
    assert "[" not in finished(at(up, folder, "study", "tiny")).split("study tiny")[0]  # nothing is run again
    assert table(folder) == before
    shutil.rmtree(folder / "reports")
    finished(at(up, folder, "report", "tiny"))
    assert table(folder) == before
    assert "McNemar" in finished(at(up, folder, "compare", "tiny_svm", "tiny_cnn", "--study", "tiny"))


@pytest.mark.parametrize("words", ["train small.yaml", "study tiny", "report tiny", "compare a b", "import-run x"])
def test_a_server_that_does_not_answer_is_reported_in_one_line(
    tmp_path: Path, demo_data: Path, refusal: Callable[..., str], words: str
) -> None:
    write_small(prepared(tmp_path, demo_data, store=False), demo_data, store=False)
    uri = f"http://127.0.0.1:{free_port()}"
    said = refusal(tmp_path, *words.split(), MLFLOW_TRACKING_URI=uri)
    assert f"error: the MLflow server at {uri} does not answer (connection refused): start it, or unset" in said
    assert said.count("\n") == 1 and not (tmp_path / "mlruns" / "outbox").exists()
