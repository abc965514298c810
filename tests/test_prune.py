"""`make prune`: what it lists, what it deletes with all files, and what it never touches."""

import io
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from mlflow.entities import ViewType
from mlflow.tracking import MlflowClient
from processes import copy_ready_store, finished, start
from rich.console import Console

from emotion_lightning.cli.prune import prune_command
from emotion_lightning.errors import UserError
from emotion_lightning.studies import state
from emotion_lightning.studies.plan import Plan, PlannedArm, PlannedCell
from emotion_lightning.tracking import environment, store

DAY_MS = 86_400_000


class Place:
    """A working folder with a store, and runs of chosen ages."""

    def __init__(self) -> None:
        self.client = store.connect()
        self.experiment = self.client.create_experiment(
            "DEMO", artifact_location=Path("mlruns/artifacts").resolve().as_uri()
        )

    def run(self, days: float, status: str = "FINISHED", kilobytes: int = 100, **tags: str) -> str:
        ended = int(time.time() * 1000 - days * DAY_MS)
        run_id = self.client.create_run(self.experiment, ended - 1000, tags, f"old {days:g} d").info.run_id
        Path("weights.bin").write_bytes(bytes(1000 * kilobytes))
        self.client.log_artifact(run_id, "weights.bin", "checkpoints")
        if tags.get("signature"):
            self.client.log_metric(run_id, "test/uar", 0.5)
        if status != "RUNNING":
            self.client.set_terminated(run_id, status, ended)
        return str(run_id)

    def model(self, run_id: str) -> str:
        model = self.client.create_logged_model(self.experiment, "model", run_id)
        Path("model.bin").write_bytes(bytes(300_000))
        self.client.log_model_artifact(model.model_id, "model.bin")
        self.client.finalize_logged_model(model.model_id, "READY")
        return str(model.model_id)

    def study(self, name: str, *signatures: str) -> str:
        run_id = self.run(90, kind="study", study=name)
        arm = PlannedArm(name="a", label="a", about="", experiment="a", corpora=("demo",))
        cells = [
            PlannedCell(arm="a", protocol="random", fold=None, seed=n, signature=s) for n, s in enumerate(signatures)
        ]
        plan = Plan(name=name, about="", demo=True, protocols=("random",), arms=(arm,), cells=tuple(cells))
        state.write_plan(self.client, run_id, plan)
        return run_id

    def prune(
        self, older: str | None = None, study: str | None = None, everything: bool = False, yes: bool = True
    ) -> str:
        console = Console(width=200, record=True, file=io.StringIO())
        prune_command(older, study, everything, yes, console)
        return console.export_text()

    def left(self) -> set[str]:
        """The ids of all runs that the database has, deleted ones included."""
        return {run.info.run_id for run in self.client.search_runs([self.experiment], run_view_type=ViewType.ALL)}


@pytest.fixture
def place(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # MLflow sets it, and the next test has another store
    copy_ready_store(in_tmp_path)
    return Place()


def files_of(run_id: str) -> list[Path]:
    return [file for file in Path("mlruns").rglob("*") if run_id in file.parts and file.is_file()]


def test_old_runs_are_listed_and_only_yes_deletes_them_with_files_models_and_checkpoints(place: Place) -> None:
    old, killed, young = place.run(40), place.run(31, "KILLED"), place.run(29, "FAILED")
    model = place.model(old)
    (folder := Path("mlruns/checkpoints") / killed).mkdir(parents=True)
    (folder / "last.ckpt").write_bytes(bytes(200_000))
    listed = place.prune(yes=False)
    assert "old 40 d" in listed and "old 31 d" in listed and "old 29 d" not in listed
    assert "2 runs, 0.7 MB of the" in listed and "YES=1 deletes" in listed
    assert place.left() == {old, killed, young} and files_of(old)
    told = place.prune()
    assert "deleted 2 of 2" in told
    assert place.left() == {young} and files_of(young)
    assert not files_of(old) and not folder.exists() and not list(Path("mlruns/artifacts").rglob("model.bin"))
    assert model not in {m.model_id for m in place.client.search_logged_models([place.experiment])}


def test_a_study_that_was_killed_before_it_had_a_plan_is_no_obstacle(place: Place) -> None:
    parent = place.run(90, "KILLED", kind="study", study="begun")
    assert "1 run" in place.prune(yes=False) and place.left() == {parent}
    with pytest.raises(
        UserError, match="study begun was killed before its first run; `make study STUDY=begun` runs it"
    ):
        state.read_plan(place.client, "begun")


def test_the_age_is_in_days_or_hours(place: Place) -> None:
    old = place.run(0.3)
    place.run(0.6)
    place.prune("10h")
    assert place.left() == {old}
    with pytest.raises(UserError, match="OLDER=soon: an age in days or hours is needed"):
        place.prune("soon")


def test_a_running_run_and_a_registered_model_stay(place: Place) -> None:
    alive = place.run(50, "RUNNING", **environment.process_tags())
    elsewhere = place.run(50, "RUNNING", **{"machine/host": "another", "machine/process": "1 1"})
    registered = place.run(50)
    model = place.model(registered)
    place.client.create_registered_model("voice")
    place.client.create_model_version("voice", f"models:/{model}", registered)
    lost = place.run(50, "RUNNING", **(environment.process_tags() | {"machine/process": "999999 1"}))
    place.prune("0d", everything=True)
    assert place.left() == {alive, elsewhere, registered}
    assert lost not in place.left()


def test_a_run_that_was_deleted_on_the_page_goes_with_its_files_at_any_age(place: Place) -> None:
    deleted, running = place.run(0), place.run(0, "RUNNING", **environment.process_tags())
    for run_id in (deleted, running):
        place.client.delete_run(run_id)
    assert "deleted" in place.prune()
    assert place.left() == {running} and not files_of(deleted)


def test_runs_of_studies_are_kept_unless_the_study_is_named(place: Place) -> None:
    mine, shared, other = (place.run(60, signature=s) for s in ("one", "two", "three"))
    later = place.run(50, signature="one")  # the report uses the oldest run of these settings
    resumable = place.run(60, "KILLED", signature="four")
    first, second = place.study("first", "one", "two", "four"), place.study("second", "two", "three")
    told = place.prune()
    assert place.left() == {mine, shared, other, resumable, first, second}
    assert later not in place.left() and "6 runs more belong to studies and are kept" in told
    place.prune(study="first")
    assert place.left() == {shared, other, second}
    with pytest.raises(UserError, match="STUDY=secnd: no study of that name has been run; did you mean 'second'"):
        place.prune(study="secnd")
    place.prune(everything=True)
    assert place.left() == set()


def test_checkpoints_of_finished_and_of_unknown_runs_are_left_over(place: Place) -> None:
    done, killed = place.run(1), place.run(1, "KILLED")
    gone, young, at_server = ("a" * 32, "b" * 32, "c" * 32)
    for name in (done, killed, gone, young, at_server, "other-rank"):
        (folder := Path("mlruns/checkpoints") / name).mkdir(parents=True)
        (folder / "last.ckpt").touch()
        if name not in (young, killed):
            os.utime(folder, (0, time.time() - 60 * 86_400))
    (Path("mlruns/outbox") / at_server).mkdir(parents=True)
    place.prune()
    assert {folder.name for folder in Path("mlruns/checkpoints").iterdir()} == {
        killed,
        young,
        at_server,
        "other-rank",
    }
    assert place.left() == {done, killed}


def test_a_tracking_server_is_refused_in_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(
        UserError, match=r"prune works on mlruns/ only, and MLFLOW_TRACKING_URI is http://127.0.0.1:9"
    ):
        place.prune()


def test_the_command_says_that_there_is_nothing_to_delete(place: Place, in_tmp_path: Path) -> None:
    assert "0 runs, 0.0 MB of the" in finished(start(in_tmp_path, "prune", "--yes"))


def test_the_store_still_works_after_a_run_was_deleted(place: Place) -> None:
    place.run(40)
    place.prune()
    again = place.run(0)
    assert MlflowClient().get_run(again).info.status == "FINISHED"


def test_a_copied_store_does_not_delete_the_files_of_the_first_one(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = place.run(40)
    shutil.copytree("mlruns", tmp_path / "copy" / "mlruns")
    kept = files_of(run)
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert "deleted 1 of 1" in place.prune()
    assert kept and all((tmp_path / file).exists() for file in kept)


def test_a_run_whose_id_is_a_path_deletes_no_folder(place: Place, tmp_path: Path) -> None:
    (thesis := tmp_path / "thesis").mkdir()
    (Path("mlruns/checkpoints")).mkdir(parents=True)
    place.run(40)
    with closing(sqlite3.connect("mlruns/mlflow.db")) as database:
        columns = "name, user_id, experiment_id, status, start_time, end_time, lifecycle_stage, artifact_uri"
        database.execute(f"INSERT INTO runs (run_uuid, {columns}) SELECT '../../thesis', {columns} FROM runs")
        database.commit()
    place.prune()
    assert thesis.is_dir()
    with pytest.raises(UserError, match="which MLflow does not make"):
        store.find_run(place.client, "../")
