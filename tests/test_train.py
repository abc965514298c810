"""One run from settings to MLflow, on a small DEMO corpus: what is logged, what is kept, what a failure leaves."""

import csv
import os
import shutil
import tempfile
import warnings
from pathlib import Path

import mlflow
import numpy as np
import pytest
import soundfile
import torch
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from processes import copy_ready_store
from rich.console import Console
from sklearn.metrics import balanced_accuracy_score

from emotion_lightning.config import loader as settings
from emotion_lightning.config.merge import merge, parse_override
from emotion_lightning.config.schema import Experiment, Fit
from emotion_lightning.errors import UserError
from emotion_lightning.predict import open_model, predict, sound_files
from emotion_lightning.tracking import environment, resume, store
from emotion_lightning.tracking import run as tracking
from emotion_lightning.train import RunResult, build, train
from emotion_lightning.training.classifier import EmotionClassifier
from emotion_lightning.training.fit import fit
from emotion_lightning.training.inference import from_checkpoint

REPOSITORY = Path(__file__).parent.parent
SMALL = {
    "corpora": {"demo": {"speakers": 4, "takes": 1}},
    "protocol": {"name": "speaker_folds", "folds": 3},
    "features": {"name": "picture", "height": 32, "width": 32},
    "augment": {"mixup": {}, "image_transforms": {}},
    "model": {"name": "small_cnn", "width": 8},
    "data": {"batch_size": 16},
    "fit": {"stages": {"small": {"size": 16, "epochs": 1}, "large": {"size": 32, "epochs": 2}}, "gap_clips": 32},
}


def small(cache: Path, **overrides: str) -> Experiment:
    tree = merge({}, {**SMALL, "name": "small"}, "test", {})
    for path, value in {"data.cache": str(cache), **overrides}.items():
        tree = merge(tree, parse_override(f"{path}={value}"), "test", {})
    return settings.check(tree)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory):
    """A folder of its own that holds mlruns/ for all tests here, since making a fresh store takes seconds."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("workplace")
    copy_ready_store(folder)
    os.chdir(folder)
    yield folder
    os.chdir(before)


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


def test_a_fault_in_a_part_leaves_no_run(finished: RunResult, demo_data: Path) -> None:
    before = len(mlflow.search_runs(search_all_experiments=True))
    with pytest.raises(UserError, match="no network 'resnet3a'; did you mean"):
        train(small(demo_data, model="{name: timm_backbone, backbone: resnet3a, weights: none}"), Console(quiet=True))
    assert len(mlflow.search_runs(search_all_experiments=True)) == before


def test_a_crash_in_training_leaves_a_failed_run(
    finished: RunResult, demo_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = small(
        demo_data, **{"data.batch_size": "1", "model": "{name: timm_backbone, backbone: resnet10t, weights: none}"}
    )
    with pytest.raises(ValueError, match="more than 1 value per channel"):  # batch norm of one clip
        train(experiment, Console(quiet=True))
    newest = mlflow.search_runs(search_all_experiments=True, order_by=["start_time DESC"]).iloc[0]
    assert newest.status == "FAILED"


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


OPTIONS = [
    {"fit.ema": "0.9"},
    {"fit.lr_search": "true"},
    {"fit.label_smoothing": "0.1", "fit.class_weights": "balanced", "fit.clip_grad": "1.0"},
    {"fit.optimizer": "sgd", "fit.keep": "last", "fit.monitor": "loss/val"},
    {"augment.noise": "{}", "augment.spec_augment": "{max_bands: 4, max_frames: 4}"},
    {
        "features": "{name: log_mel, frames: 64}",
        "augment.image_transforms": "off",
        "fit.stages.small": "off",
        "fit.stages.large.size": "null",
    },
    {"fit.stages.small": "{size: 16, frozen_epochs: 1, epochs: 1}", "fit.precision": "32"},
    {"features.width": "48", "data.normalise": "imagenet"},
    {
        "features": "{name: log_mel, frames: 64}",
        "augment.image_transforms": "off",
        "model": "{name: lstm, hidden: 8}",
        "fit.stages": "{main: {epochs: 4, shape: exponential}, small: off, large: off}",
    },
]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: " ".join(o))
def test_every_option_trains(finished: RunResult, demo_data: Path, options: dict[str, str]) -> None:
    result = train(small(demo_data, **{"fit.log_model": "false", **options}), Console(quiet=True))
    assert result is not None and np.isfinite(result.figures["test/loss"])
    history = {m.step: m.value for m in MlflowClient().get_metric_history(result.run_id, "loss/val")}
    assert result.figures["best/loss"] == pytest.approx(history[int(result.figures["best/epoch"])], rel=1e-5)


def test_patience_ends_training_so_many_epochs_after_the_best(finished: RunResult, demo_data: Path) -> None:
    options = {"fit.patience": "2", "fit.stages.large.epochs": "40", "fit.log_model": "false"}
    result = train(small(demo_data, **options), Console(quiet=True))
    assert result is not None
    history = [m.value for m in MlflowClient().get_metric_history(result.run_id, "uar/val")]
    assert len(history) == result.figures["best/epoch"] + 2 < 41
    assert history.index(max(history)) + 1 == result.figures["best/epoch"]


SVM = {
    "features": "{name: mfcc, frames: 128}",
    "model": "svm",
    "augment.mixup": "off",
    "augment.image_transforms": "off",
    "fit.stages": "{small: off, large: off, main: {epochs: 20}}",
}


def test_an_estimator_is_tracked_and_kept_like_a_network(
    finished: RunResult, demo_data: Path, tmp_path: Path
) -> None:
    experiment = small(demo_data, **SVM)
    result = train(experiment, Console(quiet=True))
    assert result is not None and result.figures["test/accuracy"] > 0.3  # DEMO voices, eight classes
    run = MlflowClient().get_run(result.run_id)
    assert {
        "loss/train",
        "loss/val",
        "loss/gap",
        "best/uar",
        "test/uar",
        "test/ece",
        "test/ece_if_calibrated",
    } <= set(run.data.metrics)
    assert "best/epoch" not in run.data.metrics
    clip = next(demo_data.rglob("03-01-05-*.wav"))
    answer = open_model(result.run_id).file(clip)
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5) and answer.windows == 1


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"augment.mixup": "{}"}, "augment.mixup: svm does not train in steps"),
        ({"fit.ema": "0.9"}, "fit.ema: svm does not train in steps, so this has no effect"),
        ({"fit.stages.main.epochs": "5"}, "fit.stages: svm does not train in steps"),
    ],
)
def test_a_setting_that_an_estimator_would_ignore_is_refused(
    finished: RunResult, demo_data: Path, override: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(small(demo_data, **(SVM | override)), Console(quiet=True))


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


@pytest.mark.slow
@pytest.mark.real
def test_the_papers_split_flatters_the_svm_on_the_real_clips(
    workplace: Path, real_corpora: Path, tmp_path: Path
) -> None:
    """Mean and deviation of 20 MFCC: about 70 % with known speakers, about 38 % with unseen ones (docs/results.md)."""
    places = [f"data.dir='{real_corpora}'", f"data.cache='{tmp_path}'", "fit.log_model=false"]
    accuracy = {}
    for protocol in ("paper_random", "speaker_folds"):
        result = train(settings.load("svm_std", [*places, f"protocol={protocol}"]), Console(quiet=True))
        assert result is not None
        accuracy[protocol] = result.figures["test/accuracy"]
    assert 0.55 < accuracy["paper_random"] < 0.85
    assert 0.25 < accuracy["speaker_folds"] < 0.50


def at_demo_size(name: str, cache: Path) -> Experiment:
    """The shipped experiment on DEMO clips, with a batch an epoch and no downloaded weights; all else as the file says."""
    experiment = settings.load(name)
    tree = experiment.model_dump(mode="json")
    tree["corpora"] = {"demo": {"speakers": 4, "takes": 1}}
    tree["data"] |= {"cache": str(cache), "batch_size": 48}
    tree["fit"] |= {"log_model": False}
    if "weights" in tree["model"]:
        tree["model"]["weights"] = "none"
    shrinkable = experiment.fit.stages != Fit().stages  # an estimator has no stages, and refuses some
    for stage in tree["fit"]["stages"].values() if shrinkable else ():
        stage |= {"rounds": 1, "frozen_epochs": min(1, stage["frozen_epochs"]), "epochs": min(1, stage["epochs"])}
    return settings.check(tree)


def first_of_each_combination() -> list[str]:
    """The first shipped experiment of each combination of model, features and augmentations, by their names."""
    first: dict[tuple[str, ...], str] = {}
    for name in settings.names():
        experiment = settings.load(name)
        first.setdefault((experiment.model.name, experiment.features.name, *sorted(experiment.augment)), name)
    return list(first.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", settings.names())
def test_every_shipped_experiment_can_be_built(workplace: Path, demo_data: Path, name: str) -> None:
    data, model = build(at_demo_size(name, demo_data), Console(quiet=True))
    assert model.experiment.model == settings.check(data.experiment.model_dump(mode="json")).model


@pytest.mark.slow
@pytest.mark.parametrize("name", first_of_each_combination())
def test_every_shipped_combination_of_parts_takes_a_step(workplace: Path, demo_data: Path, name: str) -> None:
    result = train(at_demo_size(name, demo_data), Console(quiet=True))
    assert result is not None and np.isfinite(result.figures["test/loss"])


def test_a_run_whose_loss_is_not_finite_fails_with_the_way_out(workplace: Path, demo_data: Path) -> None:
    options = {"fit.optimizer": "sgd", "fit.stages.small.lr": "1e12", "fit.stages.large.lr": "1e12"}
    with pytest.raises(
        UserError, match=r"not finite .* in epoch 1, step \d of \d, at the learning rate .* try a lower lr"
    ):
        train(small(demo_data, seed="77", **options), Console(quiet=True))
    client = MlflowClient()
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()], "params.seed = '77'")
    assert run.info.status == "FAILED" and "not finite" in run.data.tags["failure"]
    assert "test/uar" not in run.data.metrics


def test_each_picture_of_a_batch_is_cropped_at_its_own_place(workplace: Path, demo_data: Path) -> None:
    options = {"features.width": "48", "augment.mixup": "off", "augment.image_transforms": "off"}
    _, model = build(small(demo_data, **options), Console(quiet=True))
    picture = torch.arange(48.0).expand(16, 3, 32, 48)
    cropped = model._sized(picture, place=None)
    starts = cropped[:, 0, 0, 0]
    assert cropped.shape == (16, 3, 32, 32) and len(set(starts.tolist())) > 4
    assert torch.equal(cropped, starts[:, None, None, None] + torch.arange(32.0).expand(16, 3, 32, 32))


def test_probabilities_are_averaged_over_crops_from_start_to_end(workplace: Path, demo_data: Path) -> None:
    model = build(small(demo_data, **{"fit.crops": "3", "features.width": "49"}), Console(quiet=True))[1].eval()
    assert isinstance(model, EmotionClassifier)
    pictures = torch.randint(0, 255, (2, 1, 32, 49), dtype=torch.uint8)
    crops = [pictures[..., start : start + 32] for start in (0, 8, 17)]
    with torch.no_grad():
        expected = torch.stack([model(crop, torch.ones(2)).softmax(1) for crop in crops]).mean(0)
        torch.testing.assert_close(model.probabilities(pictures, torch.ones(2)), expected)
        assert not torch.allclose(model(pictures, torch.ones(2)).softmax(1), expected)


def test_only_pictures_have_crops(workplace: Path, demo_data: Path) -> None:
    with pytest.raises(UserError, match=r"fit.crops: only pictures are cropped, and mfcc is not one"):
        build(
            small(demo_data, **{"fit.crops": "3", "features": "mfcc", "fit.stages": "{main: {epochs: 1}}"}), Console()
        )
    plain, one = small(demo_data), small(demo_data, **{"fit.crops": "1"})
    assert plain.signature() == one.signature() != small(demo_data, **{"fit.crops": "2"}).signature()


def test_a_run_id_in_the_environment_does_not_continue_that_run(
    finished: RunResult, demo_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_RUN_ID", finished.run_id)
    result = train(small(demo_data, **SVM), Console(quiet=True))
    assert result is not None and result.run_id != finished.run_id


def test_a_deleted_mlflow_experiment_is_an_error_with_the_way_out(workplace: Path, demo_data: Path) -> None:
    client = MlflowClient()
    deleted = client.get_experiment_by_name("DEMO")
    client.delete_experiment(deleted.experiment_id)
    try:
        with pytest.raises(UserError, match=r"experiment 'DEMO' was deleted; .* mlflow experiments restore"):
            train(small(demo_data, **SVM), Console(quiet=True))
    finally:
        client.restore_experiment(deleted.experiment_id)


def test_a_study_has_no_model_to_predict_with(finished: RunResult, demo_data: Path) -> None:
    client = MlflowClient()
    parent = client.create_run(
        client.get_experiment_by_name("DEMO").experiment_id, tags={"kind": "study", "study": "s"}
    )
    with pytest.raises(UserError, match="is the run of the whole study s; name a run of one of its models"):
        open_model(parent.info.run_id)
    client.set_terminated(parent.info.run_id)


def test_a_failure_that_cannot_be_written_down_is_still_the_error_and_the_run_is_failed(
    workplace: Path, demo_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(key: str, value: str) -> None:
        raise MlflowException("database is locked")

    monkeypatch.setattr(mlflow, "set_tag", locked)
    options = {"fit.optimizer": "sgd", "fit.stages.small.lr": "1e12", "fit.stages.large.lr": "1e12", "seed": "78"}
    with pytest.raises(UserError, match="not finite"):
        train(small(demo_data, **options), Console(quiet=True))
    client = MlflowClient()
    (run,) = client.search_runs([e.experiment_id for e in client.search_experiments()], "params.seed = '78'")
    assert run.info.status == "FAILED" and mlflow.active_run() is None


def test_a_run_is_not_resumed_on_other_clips(finished: RunResult) -> None:
    digest = MlflowClient().get_run(finished.run_id).data.tags["data/digest"]
    resume.require_same_data(finished.run_id, {"data/digest": digest})
    with pytest.raises(UserError, match="the clips, labels or features have changed since run"):
        resume.require_same_data(finished.run_id, {"data/digest": "other"})


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


def test_one_emotion_is_too_few(workplace: Path, demo_data: Path) -> None:
    emotions = {f"emotions.{e}": "off" for e in ("calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")}
    with pytest.raises(UserError, match=r"only one emotion is left \(neutral\)"):
        build(small(demo_data, **emotions), Console(quiet=True))
