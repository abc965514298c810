"""Runs that were killed go on from where they were, and only on the same settings and clips."""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from mlflow.tracking import MlflowClient
from rich.console import Console
from small_run import SVM, small

from emotion_lightning.errors import UserError
from emotion_lightning.predict import open_model
from emotion_lightning.tracking import environment, resume, store
from emotion_lightning.tracking import run as tracking
from emotion_lightning.train import RunResult, build, train
from emotion_lightning.training.fit import fit


@pytest.fixture(scope="module")
def finished(workplace: Path, demo_data: Path) -> RunResult:
    result = train(small(demo_data, **SVM, **{"fit.log_model": "false"}), Console(quiet=True))
    assert result is not None
    return result


def test_a_run_that_was_killed_before_it_had_its_params_goes_on(finished: RunResult, demo_data: Path) -> None:
    client, experiment = store.connect(), small(demo_data, **{"fit.log_model": "false", "seed": "7"})
    place = client.get_run(finished.run_id).info.experiment_id
    run_id = client.create_run(place, tags={"signature": experiment.signature()}).info.run_id
    client.log_param(run_id, "seed", "7")  # some were logged
    client.set_terminated(run_id, "KILLED")
    result = train(experiment, Console(quiet=True), resume.check(experiment, run_id))
    assert result is not None and result.run_id == run_id
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED" and run.data.params["augment.mixup.alpha"] == "0.4"
    with pytest.raises(UserError, match=r"other settings: .*seed: 7 → 8"):
        other = client.create_run(place, tags={}).info.run_id
        client.log_param(other, "seed", "7")
        client.set_terminated(other, "KILLED")
        resume.check(small(demo_data, seed="8"), other)


@pytest.mark.parametrize("status", ["READY", "PENDING"])
def test_a_run_that_was_killed_after_its_model_was_logged_has_one_model(
    workplace: Path, demo_data: Path, status: str
) -> None:
    experiment = small(demo_data, **SVM, seed={"READY": "21", "PENDING": "22"}[status])
    first = train(experiment, Console(quiet=True))
    assert first
    client = store.connect()
    client.set_terminated(first.run_id, "KILLED")
    place = client.get_run(first.run_id).info.experiment_id
    [model] = client.search_logged_models([place], f"source_run_id = '{first.run_id}'")
    client.finalize_logged_model(model.model_id, status)
    if status == "PENDING":  # killed while its files were copied
        shutil.rmtree(Path(model.artifact_location.removeprefix("file://")) / "artifacts")
        with pytest.raises(UserError, match=r"\(KILLED\) has no model; RESUME="):
            open_model(first.run_id)
    second = train(experiment, Console(quiet=True), resume.check(experiment, first.run_id))
    assert second and second.figures["test/uar"] == first.figures["test/uar"]
    [kept] = client.search_logged_models([place], f"source_run_id = '{first.run_id}'")
    assert (kept.model_id == model.model_id) == (status == "READY") and kept.status == "READY"
    assert Path(model.artifact_location.removeprefix("file://")).exists() == (status == "READY")
    assert open_model(first.run_id).about.run == first.run_id


def test_a_checkpoint_is_written_beside_its_place_and_nowhere_else(
    workplace: Path, demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the system's temporary folder a kill would leave files for ever, and from another disk they are copied."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    last, seen = tmp_path / "work" / "last.ckpt", []

    def look(figures: dict[str, float], epoch: int) -> None:
        if last.exists():  # of the epoch before
            os.link(last, tmp_path / f"{epoch - 1}.ckpt")
        seen.append([file.name for file in (tmp_path / "temporary").iterdir()])
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))

    data, model = build(small(demo_data), Console(quiet=True))
    fit(data, model, tmp_path / "work", look, Console(quiet=True))
    epochs = [torch.load(tmp_path / f"{n}.ckpt", weights_only=True)["epoch"] for n in (1, 2)]
    assert epochs == [0, 1] and seen[0] == []
    assert {file.name for file in last.parent.iterdir()} == {"best.ckpt", "last.ckpt"}


def test_a_run_whose_process_is_lost_becomes_killed(finished: RunResult) -> None:
    client = store.connect()
    place = client.get_run(finished.run_id).info.experiment_id
    gone = client.create_run(place, tags={"machine/host": os.uname().nodename, "machine/process": "999999 1"})
    alive = client.create_run(place, tags={"machine/host": os.uname().nodename, **environment.process_tags()})
    elsewhere = client.create_run(place, tags={"machine/host": "another", "machine/process": "999999 1"})
    tracking.sweep(client)
    statuses = [client.get_run(r.info.run_id).info.status for r in (gone, alive, elsewhere)]
    assert statuses == ["KILLED", "RUNNING", "RUNNING"]
    for run in (alive, elsewhere):
        client.set_terminated(run.info.run_id, "KILLED")


@pytest.mark.parametrize(
    "options", [{}, {"fit.patience": "2", "fit.stages.large.epochs": "40"}], ids=["end", "patience"]
)
def test_training_that_was_killed_after_its_last_epoch_does_not_train_on(
    workplace: Path, demo_data: Path, tmp_path: Path, options: dict[str, str]
) -> None:
    epochs: list[list[int]] = [[], []]
    fitted = []
    for start in (0, 1):
        torch.manual_seed(0)
        data, model = build(small(demo_data, **options), Console(quiet=True))
        record = lambda figures, epoch, seen=epochs[start]: seen.append(epoch)  # noqa: E731
        fitted.append(fit(data, model, tmp_path / "work", record, Console(quiet=True)))
    assert epochs[0] and not epochs[1]
    assert fitted[0].epoch == fitted[1].epoch


def test_a_run_id_in_the_environment_does_not_continue_that_run(
    finished: RunResult, demo_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", finished.run_id)
    result = train(small(demo_data, **SVM), Console(quiet=True))
    assert result is not None and result.run_id != finished.run_id


def test_a_run_is_not_resumed_on_other_clips(finished: RunResult) -> None:
    digest = MlflowClient().get_run(finished.run_id).data.tags["data/digest"]
    resume.require_same_data(finished.run_id, {"data/digest": digest})
    with pytest.raises(UserError, match="the clips, labels or features have changed since run"):
        resume.require_same_data(finished.run_id, {"data/digest": "other"})
