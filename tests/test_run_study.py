"""Whole studies on a small DEMO corpus: what is run, what is skipped, what a kill leaves, what the report says."""

import csv
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
import yaml
from filelock import FileLock
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from processes import (
    REPOSITORY,
    Command,
    copy_ready_store,
    finished,
    has_checkpoint,
    runs,
    start,
    start_interpreter,
    until,
)

from emotion_lightning.studies.study import cells, load
from emotion_lightning.tracking import environment

TINY = {
    "corpora": {"demo": {"speakers": 4, "takes": 1}},
    "protocol": {"name": "speaker_folds", "folds": 2, "val_folds": 2},
    "features": {"name": "mfcc", "frames": 64},
    "model": {"name": "small_cnn", "width": 8},
    "data": {"batch_size": 16},
    "fit": {"stages": {"main": {"epochs": 6}}, "precision": "32", "gap_clips": 32, "log_model": False},
}
STUDY = {
    "about": "DEMO, a study of seconds",
    "arms": {"tiny_svm": None, "tiny_cnn": {"label": "small CNN"}},
    "protocols": {"speaker_folds": {"folds": 2}, "paper_random": None},
}


def prepared(folder: Path, cache: Path, study: dict | None = None, store: bool = True, **arms: dict) -> Path:
    """A working folder with the experiments tiny_svm and tiny_cnn, those of `arms`, the study `tiny`, and an empty store
    unless `store` is false."""
    if store:
        copy_ready_store(folder)
    own = {
        "base": "tiny_cnn",
        "model": {"name": "svm"},
        "fit": {"stages": {"main": {"epochs": 20}}, "precision": "auto", "gap_clips": 384},
    }
    experiments = folder / "experiments"
    (experiments / "studies").mkdir(parents=True)
    for name, tree in {
        "tiny_cnn": TINY | {"data": {"batch_size": 16, "cache": str(cache)}},
        "tiny_svm": own,
        **arms,
    }.items():
        (experiments / f"{name}.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))
    (experiments / "studies" / "tiny.yaml").write_text(yaml.safe_dump(study or STUDY, sort_keys=False))
    return folder


def study_run(folder: Path) -> Run:
    client = MlflowClient(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    (parent,) = client.search_runs([e.experiment_id for e in client.search_experiments()], "tags.kind = 'study'")
    return parent


def statuses(folder: Path) -> Counter[str]:
    return Counter(run.info.status for run in runs(folder))


def table(folder: Path) -> str:
    return (folder / "reports" / "tiny" / "table.csv").read_text()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Path:
    """The study, run from start to end on one process."""
    folder = prepared(tmp_path_factory.mktemp("unbroken"), demo_data)
    said = finished(start(folder, "study", "tiny"))
    assert "[6/6]" in said and "reports/tiny/index.html" in said
    return folder


@pytest.mark.slow
def test_a_study_runs_every_cell_once_and_tags_it(unbroken: Path) -> None:
    assert statuses(unbroken) == {"FINISHED": 6}
    client = MlflowClient(f"sqlite:///{unbroken / 'mlruns' / 'mlflow.db'}")
    (parent,) = client.search_runs(["1"], "tags.kind = 'study'")
    assert parent.info.status == "FINISHED" and parent.data.tags["study"] == "tiny"
    assert {a.path for a in client.list_artifacts(parent.info.run_id, "report")} >= {
        "report/index.html",
        "report/table.csv",
    }
    assert parent.data.metrics.keys() >= {"tiny_svm/speaker_folds/uar", "tiny_cnn/paper_random/accuracy"}
    places = {tuple(run.data.tags.get(k) for k in ("arm", "protocol", "fold", "seed")) for run in runs(unbroken)}
    assert places == {
        (arm, *rest)
        for arm in ("tiny_svm", "tiny_cnn")
        for rest in (("speaker_folds", "0", "0"), ("speaker_folds", "1", "0"), ("paper_random", None, "0"))
    }
    assert {run.data.tags["mlflow.parentRunId"] for run in runs(unbroken)} == {parent.info.run_id}


@pytest.mark.slow
def test_what_has_finished_is_not_run_again_and_the_report_needs_no_training(unbroken: Path) -> None:
    before, ids = table(unbroken), {run.info.run_id for run in runs(unbroken)}
    shutil.rmtree(unbroken / "reports")
    assert "[" not in finished(start(unbroken, "study", "tiny")).split("study tiny")[0]
    assert table(unbroken) == before
    shutil.rmtree(unbroken / "reports")
    finished(start(unbroken, "report", "tiny"))
    assert table(unbroken) == before
    assert {run.info.run_id for run in runs(unbroken)} == ids


@pytest.mark.slow
def test_a_study_killed_at_three_random_moments_ends_with_the_table_of_an_unbroken_one(
    unbroken: Path, tmp_path: Path, demo_data: Path
) -> None:
    broken = prepared(tmp_path, demo_data)
    chance = random.Random(20261121)
    for done in (0, 2, 3):  # so many have finished, then some moment later
        process = start(broken, "study", "tiny")
        until(lambda: workers(process) and quick_count(broken, "FINISHED") >= done, process)  # noqa: B023
        until(lambda: quick_count(broken, "RUNNING") > 0, process)
        # earlier where a machine is so fast that a cell ends before it
        moment = time.monotonic() + chance.uniform(0, 2)
        until(lambda: time.monotonic() > moment or quick_count(broken, "FINISHED") > done, process)  # noqa: B023
        children = workers(process)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL  # it had not ended by itself
        assert children and psutil.wait_procs(children, 5)[1] == []  # they die with it, without being killed
    finished(start(broken, "study", "tiny"))
    assert table(broken) == table(unbroken)
    assert statuses(broken) == {"FINISHED": 6}  # what was killed went on in its own run
    assert len({run.data.tags["signature"] for run in runs(broken)}) == 6


@pytest.mark.slow
def test_ctrl_c_ends_the_runs_as_killed_and_says_how_to_go_on(tmp_path: Path, demo_data: Path) -> None:
    folder = prepared(tmp_path, demo_data, {**STUDY, "arms": {"tiny_cnn": {"set": {"fit.stages.main.epochs": 500}}}})
    process = start_interpreter(folder, "study", "tiny", "--jobs", "2")
    until(lambda: len(list((folder / "mlruns" / "checkpoints").glob("*/last.ckpt"))) == 2, process)
    process.send_signal(signal.SIGINT)
    said = finished(process, 130)
    assert "study tiny was stopped; the same command continues it" in said and "Traceback" not in said
    assert statuses(folder) == {"KILLED": 2}


@pytest.mark.slow
def test_four_processes_into_one_fresh_store_lose_and_double_nothing(tmp_path: Path, demo_data: Path) -> None:
    folder = prepared(tmp_path, demo_data, store=False)
    processes = [start(folder, "train", "tiny_cnn", f"seed={seed}") for seed in range(4)]
    for process in processes:
        finished(process)
    assert statuses(folder) == {"FINISHED": 4}
    assert {run.data.params["seed"] for run in runs(folder)} == {"0", "1", "2", "3"}
    assert all(len(run.data.metrics) > 20 for run in runs(folder))


@pytest.mark.slow
def test_four_workers_give_the_table_of_one(unbroken: Path, tmp_path: Path, demo_data: Path) -> None:
    folder = prepared(tmp_path, demo_data)
    finished(start(folder, "study", "tiny", "--jobs", "4"))
    assert statuses(folder) == {"FINISHED": 6}
    ours, theirs = ([line.split(",") for line in table(f).splitlines()] for f in (folder, unbroken))
    assert [line[:5] for line in ours] == [line[:5] for line in theirs]
    svm = [(a, b) for a, b in zip(ours, theirs, strict=True) if a[0] == "tiny_svm"]
    assert svm and all(a == b for a, b in svm)


@pytest.mark.slow
def test_the_honesty_table_marks_what_leaks(tmp_path: Path, demo_data: Path) -> None:
    folder = prepared(tmp_path, demo_data)
    said = finished(start(folder, "honesty", "tiny_svm", "--folds", "1"))
    assert "[5/5]" in said and "leaky_rows (LEAKY)" in said and "USES TEST SPEAKERS" in said
    report = folder / "reports" / "honesty_tiny_svm_demo_folds-1"
    page = (report / "index.html").read_text()
    assert "leaky_rows (LEAKY)" in page and "a mistake rebuilt on purpose" in page
    assert "make honesty EXP=tiny_svm" in page and "make study" not in page
    lines = [line[:2] for line in csv.reader((report / "table.csv").read_text().splitlines()[1::3])]
    protocols = ["leaky_rows (LEAKY)", "random", "speaker_folds", "text_independent"]
    shortcut = ["tiny_svm_by_speaker", "speaker_folds"]
    assert [line for line in lines if line != shortcut] == [["tiny_svm", protocol] for protocol in protocols]
    assert lines.count(shortcut) == 1
    found = [run.data.tags for run in runs(folder)]
    assert [tags["protocol"] for tags in found if "USES TEST SPEAKERS" in tags] == ["speaker_folds"]
    tags = {tags["protocol"]: tags for tags in found if "USES TEST SPEAKERS" not in tags}
    assert {protocol: found["LEAKY"] for protocol, found in tags.items()} == {
        "leaky_rows": "True", "random": "False", "speaker_folds": "False", "text_independent": "False"
    }  # fmt: skip
    assert tags["leaky_rows"]["mlflow.runName"].startswith("LEAKY · ")
    assert {protocol: found["audit"].partition(":")[0] for protocol, found in tags.items()} == {
        "leaky_rows": "LEAK", "random": "known speakers", "speaker_folds": "ok", "text_independent": "known speakers"
    }  # fmt: skip


@pytest.mark.slow
def test_two_studies_at_once_are_refused(tmp_path: Path, demo_data: Path) -> None:
    folder = prepared(tmp_path, demo_data, {**STUDY, "arms": {"tiny_cnn": {"set": {"fit.stages.main.epochs": 500}}}})
    first = start(folder, "study", "tiny")
    until(lambda: has_checkpoint(folder), first)
    assert "study tiny is already running in this folder" in finished(start(folder, "study", "tiny"), 2)
    first.terminate()
    finished(first, 143)


@pytest.mark.slow
def test_gaps_say_why_and_what_failed_is_run_again(tmp_path: Path, demo_data: Path) -> None:
    arms = {
        "no_weights": {
            "base": "tiny_cnn",
            "features": "picture",
            "model": {"name": "timm_backbone", "weights": "nowhere.bin"},
        },
        "crashes": {"base": "tiny_cnn", "model": {"name": "crash"}},
    }
    study = {"arms": dict.fromkeys(["tiny_svm", *arms]), "protocols": {"speaker_folds": {"folds": 2}}}
    folder = prepared(tmp_path, demo_data, study, **arms)
    (folder / "parts" / "models").mkdir(parents=True)
    part = folder / "parts" / "models" / "crash.py"
    source = (REPOSITORY / "emotion_lightning" / "models" / "small_cnn.py").read_text()
    part.write_text(
        source.replace(
            "return self.head(",
            "if self.training:\n            raise RuntimeError('out of cheese')\n        return self.head(",
        )
    )
    said = finished(start(folder, "--parts", "parts", "study", "tiny"), 1)
    assert "model.weights: there is no file 'nowhere.bin'" in said and "RuntimeError: out of cheese" in said
    assert statuses(folder) == {"FINISHED": 2, "FAILED": 2}
    assert study_run(folder).info.status == "FAILED"
    page = (folder / "reports" / "tiny" / "report.md").read_text()
    assert "| no_weights | speaker_folds | 2 | fold 0 seed 0, fold 1 seed 0 | model.weights: there is no file" in page
    assert "| crashes | speaker_folds | 2 | fold 0 seed 0, fold 1 seed 0 | RuntimeError: out of cheese |" in page
    part.write_text(source)
    finished(start(folder, "--parts", "parts", "study", "tiny"), 1)
    assert statuses(folder) == {"FINISHED": 4, "FAILED": 2}
    assert "out of cheese" not in (folder / "reports" / "tiny" / "report.md").read_text()


@pytest.mark.slow
def test_a_run_whose_worker_dies_is_started_once_more(unbroken: Path, tmp_path: Path, demo_data: Path) -> None:
    folder = prepared(tmp_path, demo_data, {**STUDY, "arms": {"tiny_cnn": {"label": "small CNN"}}})
    process = start(folder, "study", "tiny")
    until(lambda: has_checkpoint(folder), process)
    (worker,) = workers(process)
    worker.kill()
    said = finished(process)
    assert "its process died (SIGKILL; out of memory?), started again" in said
    assert statuses(folder) == {"FINISHED": 3}
    cnn = [line for line in table(unbroken).splitlines() if line.startswith("tiny_cnn")]
    assert table(folder).splitlines()[1:] == cnn


def quick_count(folder: Path, status: str) -> int:
    """Counts the runs with a status by SQL, in a millisecond: asking MLflow takes as long as a short run."""
    if not (folder / "mlruns" / ".ready").exists():
        return 0
    query = "SELECT COUNT(*) FROM runs WHERE status = ? AND run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key = 'kind')"
    with closing(sqlite3.connect(folder / "mlruns" / "mlflow.db", timeout=60)) as database:
        return int(database.execute(query, [status]).fetchone()[0])


def workers(process: Command) -> list[psutil.Process]:
    """Runs that the last kill left RUNNING say nothing of this process: it works once it has workers."""
    found = []
    with suppress(psutil.NoSuchProcess):  # one that has just ended
        for child in psutil.Process(process.pid).children():
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.fixture
def two_cells(tmp_path: Path, demo_data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, and the current one, whose study has one estimator in two folds."""
    study = {"arms": {"tiny_svm": None}, "protocols": {"speaker_folds": {"folds": 2}}}
    monkeypatch.chdir(prepared(tmp_path, demo_data, study))
    return tmp_path


@pytest.mark.slow
def test_a_cell_that_another_study_has_just_started_is_left_to_it(two_cells: Path) -> None:
    """The other study's run is not in the store yet: its process takes seconds to start."""
    folder = two_cells
    signature = cells(load("tiny"))[1].experiment.signature()
    (folder / "mlruns" / "studies" / ".cells").mkdir(parents=True)
    with FileLock(folder / "mlruns" / "studies" / ".cells" / f"{signature}.lock"):
        said = finished(start(folder, "study", "tiny"), 1)
    assert "another study in this folder runs it now" in said and statuses(folder) == {"FINISHED": 1}
    finished(start(folder, "study", "tiny"))
    assert statuses(folder) == {"FINISHED": 2}


@pytest.mark.slow
def test_a_cell_whose_process_ends_while_a_study_runs_is_run_by_it(two_cells: Path) -> None:
    """The worker of a study that was killed may live for some seconds after the same command was given again."""
    folder = two_cells
    with subprocess.Popen(["sleep", "600"]) as other:
        tags = environment.process_tags() | {"machine/process": f"{other.pid} {environment._start_of(other.pid)}"}
        client = MlflowClient(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
        signature = cells(load("tiny"))[0].experiment.signature()
        client.create_run(client.create_experiment("DEMO"), tags={**tags, "signature": signature})
        process = start(folder, "study", "tiny")
        try:
            until(lambda: quick_count(folder, "RUNNING") >= 2, process)
        finally:
            other.kill()
    finished(process)
    assert statuses(folder)["FINISHED"] == 2
