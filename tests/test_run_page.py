"""What a reader of MLflow's pages sees of a run: its name, description, audit, samples, and the list of runs."""

import csv
import json
import os
import re
from pathlib import Path

import mlflow
import numpy as np
import pytest
import soundfile
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from PIL import Image
from processes import copy_ready_store, finished, runs, start
from rich.console import Console

from emotion_lightning.config import loader as settings
from emotion_lightning.config.schema import Experiment
from emotion_lightning.tracking import pages, ui
from emotion_lightning.tracking import run as tracking
from emotion_lightning.training.build import build
from emotion_lightning.training.samples import sample_clips

TINY = {
    "about": "a network of seconds",
    "corpora": {"demo": {"speakers": 4, "takes": 1}},
    "protocol": {"name": "speaker_folds", "folds": 3},
    "features": {"name": "mfcc", "frames": 32},
    "model": {"name": "small_cnn", "width": 8},
    "data": {"batch_size": 32},
    "fit": {"stages": {"main": {"epochs": 4}}, "precision": "32", "gap_clips": 32},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    copy_ready_store(folder)
    (folder / "experiments").mkdir()
    (folder / "experiments" / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def printed(folder: Path, demo_data: Path) -> str:
    return finished(start(folder, "train", "tiny", "seed=2", f"data.cache={demo_data}"))


@pytest.fixture(scope="module")
def run(folder: Path, printed: str) -> Run:
    [run] = runs(folder)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    return run


def artifact(run: Run, path: str) -> Path:
    return Path(mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=path))


def test_the_name_tells_a_run_from_other_seeds(run: Run) -> None:
    assert run.info.run_name == "tiny · speaker_folds · fold 0 · seed 2"


def test_the_best_epoch_is_counted_as_on_the_terminal_and_in_the_curves(run: Run, printed: str) -> None:
    best = run.data.metrics["best/epoch"]
    assert f"validation, epoch {best:.0f} " in printed
    curve = {m.step: m.value for m in MlflowClient().get_metric_history(run.info.run_id, "uar/val")}
    assert list(curve) == [1, 2, 3, 4]
    assert best == min(step for step, value in curve.items() if value == max(curve.values()))


def test_the_description_says_what_the_run_is_and_how_to_repeat_it(run: Run) -> None:
    text, uar = run.data.tags["mlflow.note.content"], run.data.metrics["test/uar"]
    assert text.startswith(
        f"**DEMO · tiny · speaker_folds · fold 0 · seed 2**: test UAR {uar:.3f}  \na network of seconds\n"
    )
    row = " | ".join(f"{run.data.metrics[f'test/{name}']:.3f}" for name in ("accuracy", "f1", "uar", "loss"))
    assert f"| **test** | {row} |" in text
    assert "- **Protocol** `speaker_folds`: Speaker-disjoint folds: no speaker is in two splits" in text
    assert (
        "- **Audit**: ok: no speaker, clip or sound in two splits. No test clip was read before the evaluation."
        in text
    )
    assert re.search(r"0 of the \d test speakers were trained on", text)
    assert "- **Reproduce**: `make train EXP=tiny SET=seed=2`" in text


def test_a_run_that_has_not_finished_has_a_description_without_scores(folder: Path, demo_data: Path) -> None:
    lines = ["fit.stages.main.lr=1e12", "fit.optimizer=sgd"]
    finished(start(folder, "train", "tiny", *lines, f"data.cache={demo_data}"), 2)
    failed = next(run for run in runs(folder) if run.info.status == "FAILED")
    assert "*No scores: the run has not finished.*" in failed.data.tags["mlflow.note.content"]
    assert "**test**" not in failed.data.tags["mlflow.note.content"]


def test_the_audit_is_one_tag_and_a_table(run: Run) -> None:
    assert [name for name in run.data.tags if name.startswith("audit")] == ["audit"]
    with artifact(run, "audit.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    speakers = next(row for row in rows if (row["what"], row["split"]) == ("speakers", "test"))
    assert (speakers["verdict"], speakers["clips"]) == ("ok", "0") and int(speakers["of"]) > 0
    assert [row["clips"] for row in rows if row["what"].startswith("read by the")] == ["0", "0"]


def test_some_training_clips_are_kept_as_sound_and_as_picture(run: Run, demo_data: Path) -> None:
    data, _ = build(settings.load("tiny", ["seed=2", f"data.cache={demo_data}"]), Console(quiet=True))
    chosen = sample_clips(data, 4)
    assert len({data.clips[i].emotion for i in chosen}) == 4 and set(chosen) <= set(data.split.train.tolist())
    names = {f"{data.clips[i].emotion}_demo_{data.clips[i].id}": i for i in chosen}
    kept = artifact(run, "samples")
    assert {file.name for file in kept.iterdir()} == {f"{name}{end}" for name in names for end in (".wav", ".png")}
    for name, index in names.items():
        sound, rate = soundfile.read(kept / f"{name}.wav", dtype="float32")
        assert rate == 16_000
        np.testing.assert_allclose(sound, data.waveform(index), atol=1 / 32_768)
        width, height = Image.open(kept / f"{name}.png").size
        assert width % 32 == 0 and height % 20 == 0  # 32 frames, 20 bands


def test_as_many_samples_as_there_are_emotions_and_none_with_zero(folder: Path, demo_data: Path) -> None:
    data, _ = build(settings.load("tiny", [f"data.cache={demo_data}"]), Console(quiet=True))
    assert len(sample_clips(data, 99)) == len(data.classes)
    assert sample_clips(data, 0) == []


def test_the_last_line_says_what_the_run_takes_on_disk(folder: Path, run: Run, printed: str) -> None:
    found = re.search(r"· ([\d.]+) MB on disk ·", printed.splitlines()[-1])
    assert found
    files = [file for file in (folder / "mlruns" / "artifacts").rglob("*") if file.is_file()]
    of_run = [file for file in files if run.info.run_id in file.parts or "models" in file.parts]
    assert float(found[1]) == pytest.approx(sum(file.stat().st_size for file in of_run) / 1e6, abs=0.1)


def test_the_list_of_runs_opens_with_protocol_score_and_audit_the_best_first(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = MlflowClient().get_experiment(run.info.experiment_id).tags
    assert json.loads(tags["mlflow.sharedViewState.emotion_lightning"]) == {
        "selectedColumns": ["tags.`protocol`", "metrics.`test/uar`", "tags.`audit`"],
        "orderByKey": "metrics.`test/uar`",
        "orderByAsc": False,
    }
    assert "Scores compare only under the same protocol" in tags["mlflow.note.content"]
    said: list[str] = []
    monkeypatch.setattr(ui.subprocess, "run", lambda *args, **kwargs: None)
    ui.serve(59_123, said.append)
    place = f"#/experiments/{run.info.experiment_id}/runs?workflowType=machine_learning&viewStateShareKey=emotion_lightning"
    assert f"  DEMO: http://127.0.0.1:59123/{place}" in said


def test_an_experiment_of_an_earlier_version_gets_its_view_and_keeps_its_own_description(folder: Path) -> None:
    client = MlflowClient()
    number = client.create_experiment("savee", tags={pages.NOTE: "mine"})
    experiment = Experiment.model_validate({**settings.load("svm").model_dump(mode="json"), "corpora": {"savee": {}}})
    assert tracking.experiment_id(client, experiment) == number
    tags = client.get_experiment(number).tags
    assert tags[pages.NOTE] == "mine" and f"mlflow.sharedViewState.{pages.VIEW}" in tags
