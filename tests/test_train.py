"""One run from settings to MLflow, on a small DEMO corpus: what is logged, what is kept, and what it predicts."""

import csv
import warnings
from pathlib import Path

import mlflow
import numpy as np
import pytest
import soundfile
import torch
from mlflow.tracking import MlflowClient
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score
from small_run import small

from emotion_lightning.config import loader as settings
from emotion_lightning.errors import UserError
from emotion_lightning.predict import open_model, predict, sound_files
from emotion_lightning.train import RunResult, build, train
from emotion_lightning.training.inference import from_checkpoint


@pytest.fixture(scope="module")
def finished(workplace: Path, demo_data: Path) -> RunResult:
    result = train(small(demo_data), Console(quiet=True))
    assert result is not None
    return result


def test_a_run_finishes_and_logs_every_epoch_by_metric_and_split(finished: RunResult) -> None:
    client = MlflowClient()
    run = client.get_run(finished.run_id)
    assert run.info.status == "FINISHED"
    for name in ("loss", "accuracy", "f1", "uar"):
        for split in ("train", "val"):
            assert [m.step for m in client.get_metric_history(finished.run_id, f"{name}/{split}")] == [1, 2, 3]
    gaps = [m.value for m in client.get_metric_history(finished.run_id, "loss/gap")]
    losses = [[m.value for m in client.get_metric_history(finished.run_id, f"loss/{s}")] for s in ("train", "val")]
    assert gaps == pytest.approx([val - train for train, val in zip(*losses, strict=True)], abs=1e-6)
    assert [m.value for m in client.get_metric_history(finished.run_id, "picture_size")] == [16, 32, 32]
    assert {"best/uar", "test/uar", "test/accuracy", "test/f1", "test/loss", "lr", "clips_per_second"} <= set(
        run.data.metrics
    )


def test_a_run_says_what_it_was(finished: RunResult) -> None:
    run = MlflowClient().get_run(finished.run_id)
    assert run.data.params["augment.mixup.alpha"] == "0.4"
    assert run.data.params["fit.stages.large.size"] == "32"
    assert {
        "signature",
        "protocol",
        "machine/cpu",
        "machine/precision",
        "machine/memory_format",
        "mlflow.source.git.commit",
    } <= set(run.data.tags)
    assert run.data.tags["DEMO"] == "True"
    splits = [{tag.key: tag.value for tag in data.tags} for data in run.inputs.dataset_inputs]
    assert {split["mlflow.data.context"] for split in splits} == {"train", "val", "test"}
    assert len({data.dataset.digest for data in run.inputs.dataset_inputs}) == 3
    assert sum(int(split["clips"]) for split in splits) == 128


def test_everything_a_reader_needs_is_kept_with_the_run(finished: RunResult) -> None:
    client = MlflowClient()
    kept = {a.path for a in client.list_artifacts(finished.run_id)}
    assert {
        "settings.yaml",
        "environment.txt",
        "audit.csv",
        "samples",
        "predictions.csv",
        "per_class.csv",
        "confusion.png",
        "loss_gap.png",
    } <= kept
    checkpoints = {a.path for a in client.list_artifacts(finished.run_id, "checkpoints")}
    assert checkpoints == {"checkpoints/best.ckpt"}


def test_the_settings_that_are_kept_are_an_experiment_that_trains_the_same_again(finished: RunResult) -> None:
    kept = mlflow.artifacts.download_artifacts(run_id=finished.run_id, artifact_path="settings.yaml")
    run = MlflowClient().get_run(finished.run_id)
    assert settings.load(kept).signature() == run.data.tags["signature"]


def test_the_predictions_of_each_clip_give_the_figures_again(finished: RunResult) -> None:
    with Path(
        mlflow.artifacts.download_artifacts(run_id=finished.run_id, artifact_path="predictions.csv")
    ).open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    right = sum(row["emotion"] == row["predicted"] for row in rows) / len(rows)
    assert right == pytest.approx(finished.figures["test/accuracy"])
    assert all(sum(float(row[e]) for e in finished.classes) == pytest.approx(1, abs=1e-4) for row in rows)
    for sex in ("female", "male"):
        true, guess = zip(*((row["emotion"], row["predicted"]) for row in rows if row["sex"] == sex), strict=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # a class was predicted that the group does not have
            expected = balanced_accuracy_score(true, guess)
        assert finished.figures[f"test/uar/sex/{sex}"] == pytest.approx(expected)
    groups = {name for name in finished.figures if name.startswith("test/uar/")}
    assert groups == {"test/uar/sex/female", "test/uar/sex/male"}  # one corpus, and one intensity in this small one


def test_the_run_leaves_nothing_but_mlruns(finished: RunResult, workplace: Path) -> None:
    assert [p.name for p in workplace.iterdir()] == ["mlruns"]
    assert list((workplace / "mlruns" / "checkpoints").iterdir()) == []


def test_the_same_seed_gives_the_same_figures_to_the_last_digit_and_another_seed_others(
    finished: RunResult, demo_data: Path
) -> None:
    again = train(small(demo_data), Console(quiet=True))
    other = train(small(demo_data, seed="1"), Console(quiet=True))
    assert again is not None and other is not None
    same = {name: value for name, value in finished.figures.items() if name != "seconds"}
    assert {name: again.figures[name] for name in same} == same
    assert torch.equal(again.probabilities, finished.probabilities)
    assert not torch.equal(other.probabilities, finished.probabilities)


def test_the_kept_model_gives_the_probabilities_that_were_tested(finished: RunResult, demo_data: Path) -> None:
    models = MlflowClient().search_logged_models(
        [MlflowClient().get_run(finished.run_id).info.experiment_id],
        filter_string=f"source_run_id = '{finished.run_id}'",
    )
    model = mlflow.pyfunc.load_model(models[0].model_uri)
    assert model.metadata.signature is not None
    with Path(
        mlflow.artifacts.download_artifacts(run_id=finished.run_id, artifact_path="predictions.csv")
    ).open() as file:
        row = next(r for r in csv.DictReader(file) if r["split"] == "test")
    clip = next((demo_data).rglob(f"{row['clip'].removeprefix('DEMO-')}.wav"))
    answer = model.predict([{"path": str(clip)}]).iloc[0]
    tested = finished.calibration.apply(torch.tensor([[float(row[e]) for e in finished.classes]]))[0]
    # the run computed in bf16 where the processor does; the kept model computes in fp32
    assert answer[list(finished.classes)].tolist() == pytest.approx(tested.tolist(), abs=0.03)
    assert model.metadata.metadata == {"classes": list(finished.classes), "sample_rate_hz": 16_000}


def test_predict_names_every_file_and_says_which_it_cannot_hear(
    finished: RunResult, demo_data: Path, tmp_path: Path
) -> None:
    clip = next(demo_data.rglob("03-01-05-*.wav"))
    samples, rate = soundfile.read(clip)
    soundfile.write(tmp_path / "voice.flac", samples, rate)
    soundfile.write(tmp_path / "silence.wav", np.zeros(16_000), 16_000)
    (tmp_path / "broken.wav").write_bytes(b"")
    found = {p.path.name: p for p in predict(sound_files(tmp_path), open_model(finished.run_id[:8]))}
    answer = found["voice.flac"].answer
    assert answer and answer.emotion in finished.classes
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert "silent" in found["silence.wav"].fault and "empty" in found["broken.wav"].fault


@pytest.mark.parametrize("name", ["best.ckpt", "best.skops"])
@pytest.mark.parametrize("size", [0, 100, 3000])
def test_a_damaged_checkpoint_is_reported_in_one_line(
    name: str, size: int, finished: RunResult, tmp_path: Path
) -> None:
    kept = mlflow.artifacts.download_artifacts(run_id=finished.run_id, artifact_path="checkpoints/best.ckpt")
    (tmp_path / name).write_bytes(Path(kept).read_bytes()[:size])
    with pytest.raises(UserError, match=rf"{name} of the run is damaged \(") as error:
        from_checkpoint(tmp_path / name)
    assert "\n" not in str(error.value)


def test_an_unknown_run_or_file_is_reported_in_one_line(finished: RunResult, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file or folder"):
        sound_files(tmp_path / "nothing.wav")
    with pytest.raises(UserError, match="no runs start with 'ffffffffff'"):
        open_model("ffffffffff")


def test_a_study_has_no_model_to_predict_with(finished: RunResult, demo_data: Path) -> None:
    client = MlflowClient()
    parent = client.create_run(
        client.get_experiment_by_name("DEMO").experiment_id, tags={"kind": "study", "study": "s"}
    )
    with pytest.raises(UserError, match="is the run of the whole study s; name a run of one of its models"):
        open_model(parent.info.run_id)
    client.set_terminated(parent.info.run_id)


def test_a_run_predicts_with_the_weights_that_were_tested(workplace: Path, demo_data: Path) -> None:
    """With `keep: last` these are not the best ones."""
    result = train(small(demo_data, seed="5", **{"fit.keep": "last"}), Console(quiet=True))
    assert result is not None
    data, _ = build(small(demo_data, seed="5"), Console(quiet=True))
    index = int(data.split.test[0])
    answer = open_model(result.run_id).file(data.clips[index].path)
    calibrated = result.calibration.apply(result.probabilities[:1])[0]
    assert answer.probabilities == pytest.approx(
        dict(zip(result.classes, calibrated.tolist(), strict=True)), abs=0.03
    )
