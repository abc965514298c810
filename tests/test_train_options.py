"""What the settings of training do: every option, patience, crops, and estimators, which do not train in steps."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow.tracking import MlflowClient
from rich.console import Console
from small_run import SVM, small

from emotion_lightning.errors import UserError
from emotion_lightning.predict import open_model
from emotion_lightning.train import build, train
from emotion_lightning.training.classifier import EmotionClassifier

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
def test_every_option_trains(workplace: Path, demo_data: Path, options: dict[str, str]) -> None:
    result = train(small(demo_data, **{"fit.log_model": "false", **options}), Console(quiet=True))
    assert result is not None and np.isfinite(result.figures["test/loss"])
    history = {m.step: m.value for m in MlflowClient().get_metric_history(result.run_id, "loss/val")}
    assert result.figures["best/loss"] == pytest.approx(history[int(result.figures["best/epoch"])], rel=1e-5)


def test_patience_ends_training_so_many_epochs_after_the_best(workplace: Path, demo_data: Path) -> None:
    options = {"fit.patience": "2", "fit.stages.large.epochs": "40", "fit.log_model": "false"}
    result = train(small(demo_data, **options), Console(quiet=True))
    assert result is not None
    history = [m.value for m in MlflowClient().get_metric_history(result.run_id, "uar/val")]
    assert len(history) == result.figures["best/epoch"] + 2 < 41
    assert history.index(max(history)) + 1 == result.figures["best/epoch"]


def test_an_estimator_is_tracked_and_kept_like_a_network(workplace: Path, demo_data: Path, tmp_path: Path) -> None:
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
    workplace: Path, demo_data: Path, override: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(small(demo_data, **(SVM | override)), Console(quiet=True))


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
