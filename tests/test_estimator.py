"""EmotionEstimator: probabilities from decision values, classes that training did not have, and the file that keeps it."""

from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.data.datamodule import FeatureBatch
from emotion_lightning.errors import UserError
from emotion_lightning.features import log_mel
from emotion_lightning.models import svm
from emotion_lightning.training import estimator_file
from emotion_lightning.training.calibration import temperature
from emotion_lightning.training.estimator import EmotionEstimator


def clips(classes: int, count: int, seed: int) -> FeatureBatch:
    """`count` clips whose features tell `classes` classes apart, if not well."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    stored = torch.randn(count, 1, 5, 8, generator=chance)
    stored += 0.5 * torch.nn.functional.one_hot(labels, 5)[:, None, :, None]
    return FeatureBatch(torch.arange(count), labels, stored, torch.ones(count))


def fitted(classifier: Any, train: FeatureBatch, val: FeatureBatch, classes: int = 3) -> EmotionEstimator:
    pipeline = make_pipeline(FunctionTransformer(svm.mean), classifier)
    feature = log_mel.build(16_000, bands=5, frames=8)
    model = EmotionEstimator(settings.load("demo_svm"), feature, pipeline, "abcdefgh"[:classes])
    model.fit(train, val, [""] * len(train.labels))
    return model


def test_decision_values_become_probabilities_with_the_temperature_of_least_loss_on_the_validation_split() -> None:
    train, val = clips(3, 90, 0), clips(3, 60, 1)
    model = fitted(RidgeClassifier(), train, val)
    logits = torch.from_numpy(model.estimator.decision_function(val.stored.numpy())).float()
    found = model.probabilities(val.stored, val.valid)
    torch.testing.assert_close(found, (logits / model.temperature).softmax(1))
    losses = [float(torch.nn.functional.cross_entropy(logits / t, val.labels)) for t in np.geomspace(0.02, 50, 200)]
    ours = float(-found.gather(1, val.labels[:, None]).log().mean())
    assert ours <= min(losses) + 1e-4 < float(torch.nn.functional.cross_entropy(logits, val.labels))
    assert torch.equal(found.argmax(1), logits.argmax(1))


def test_probabilities_of_the_estimators_own_are_left_as_they_are() -> None:
    train, val = clips(3, 90, 0), clips(3, 60, 1)
    model = fitted(LogisticRegression(), train, val)
    expected = torch.from_numpy(model.estimator.predict_proba(val.stored.numpy())).float()
    torch.testing.assert_close(model.probabilities(val.stored, val.valid), expected)


@pytest.mark.parametrize("classifier", [RidgeClassifier(), LogisticRegression(), DummyClassifier(strategy="prior")])
@pytest.mark.parametrize("known", [2, 3])
def test_a_class_that_training_did_not_have_gets_no_probability(classifier: Any, known: int) -> None:
    model = fitted(classifier, clips(known, 60, 0), clips(4, 40, 1), classes=4)
    found = model.probabilities(clips(4, 40, 2).stored, torch.ones(40))
    assert found.shape == (40, 4) and found.isfinite().all()
    torch.testing.assert_close(found.sum(1), torch.ones(40))
    assert float(found[:, known:].max()) < 1e-6


@pytest.mark.parametrize("scale", [1.0, 8.0, 0.1])
def test_the_temperature_of_logits_that_were_scaled_is_the_scale(scale: float) -> None:
    chance = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20_000, 4, generator=chance)
    labels = torch.multinomial(logits.softmax(1), 1, generator=chance)[:, 0]
    assert temperature(logits * scale, labels) == pytest.approx(scale, rel=0.05)


class Foreign(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """An estimator of neither scikit-learn nor `emotion_lightning.models`."""

    def fit(self, x: Any, y: Any) -> "Foreign":
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, x: Any) -> Any:
        return np.full((len(x), len(self.classes_)), 1 / len(self.classes_))


@pytest.mark.parametrize("classifier", [svm.SVC(), RidgeClassifier(), LogisticRegression()])
def test_a_kept_estimator_gives_the_same_probabilities(classifier: Any, tmp_path: Path) -> None:
    train, val = clips(3, 90, 0), clips(3, 60, 1)
    model = fitted(classifier, train, val)
    estimator_file.save(model, tmp_path / "best.skops")
    loaded = estimator_file.load(tmp_path / "best.skops")
    assert (loaded.experiment, loaded.classes, loaded.temperature) == (
        model.experiment.model_copy(update={"search": {}}),  # the ranges of a search are in no file of a model
        model.classes,
        model.temperature,
    )
    expected = model.probabilities(val.stored, val.valid)
    torch.testing.assert_close(loaded.probabilities(val.stored, val.valid), expected, rtol=0, atol=0)


def test_a_search_is_kept_with_what_it_chose(tmp_path: Path) -> None:
    train, val = clips(3, 90, 0), clips(3, 60, 1)
    search = parts.entry("models", "svm_search")((1, 5, 8), 3, folds=2)
    changes = ["model={name: svm_search, folds: 2}"]
    model = EmotionEstimator(
        settings.load("demo_svm", changes), log_mel.build(16_000, bands=5, frames=8), search, "abc"
    )
    model.fit(train, val, [str(i // 10) for i in range(90)])
    estimator_file.save(model, tmp_path / "best.skops")
    loaded = estimator_file.load(tmp_path / "best.skops")
    assert loaded.estimator.best_params_ == search.best_params_
    expected = model.probabilities(val.stored, val.valid)
    torch.testing.assert_close(loaded.probabilities(val.stored, val.valid), expected, rtol=0, atol=0)


def test_a_kept_estimator_names_no_module_of_ours_but_models(tmp_path: Path) -> None:
    estimator_file.save(fitted(svm.SVC(), clips(3, 90, 0), clips(3, 60, 1)), tmp_path / "best.skops")
    with ZipFile(tmp_path / "best.skops") as archive:
        written = "".join(archive.read(name).decode("latin-1") for name in archive.namelist())
    assert written.count("emotion_lightning") == written.count("emotion_lightning.models.svm") > 0


def test_an_estimator_of_another_package_is_kept_where_the_models_file_lists_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = fitted(Foreign(), clips(3, 90, 0), clips(3, 60, 1))
    name = f"{Foreign.__module__}.Foreign"
    with pytest.raises(UserError, match=rf"not trusted: {name}\. .* models/svm.py: TRUSTED = \['{name}'\]"):
        estimator_file.save(model, tmp_path / "best.skops")
    monkeypatch.setattr(svm, "TRUSTED", [name], raising=False)
    estimator_file.save(model, tmp_path / "best.skops")
    assert isinstance(estimator_file.load(tmp_path / "best.skops").estimator[-1], Foreign)


def test_an_estimator_that_holds_a_lambda_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(svm.SVC(), clips(3, 90, 0), clips(3, 60, 1))
    model.estimator.steps[0] = ("mean", FunctionTransformer(lambda x: x))
    monkeypatch.setattr(svm, "TRUSTED", [f"{__name__}.<lambda>"], raising=False)
    with pytest.raises(UserError, match=r"models/svm.py: skops cannot save its estimator: .*lambda"):
        estimator_file.save(model, tmp_path / "best.skops")


def test_a_pickle_of_an_earlier_version_is_refused_with_the_way_to_train_it_again() -> None:
    with pytest.raises(UserError, match=r"best.joblib is a pickle of an earlier version.*EXP=settings.yaml"):
        estimator_file.load(Path("best.joblib"))


def test_a_validation_clip_of_a_class_without_training_clips_does_not_change_the_temperature() -> None:
    train, val = clips(3, 90, 0), clips(3, 60, 1)
    stranger = FeatureBatch(*(torch.cat([part, part[:1]]) for part in val))
    stranger.labels[-1] = 3
    assert fitted(RidgeClassifier(), train, stranger, 4).temperature == pytest.approx(
        fitted(RidgeClassifier(), train, val, 4).temperature
    )


# ---------------------------------------------------------------- fitted again on training and validation clips


class Recorder(Foreign):
    """Keeps the labels that it was fitted on."""

    def fit(self, x: Any, y: Any) -> "Recorder":
        self.fitted_on_ = list(y)
        super().fit(x, y)
        return self


def test_a_refitted_model_has_seen_both_splits_and_keeps_the_temperature() -> None:
    train, val = clips(3, 90, 0), clips(3, 60, 1)
    first = fitted(RidgeClassifier(), train, val)
    second = first.refitted(train, val, [""] * 150)
    assert second.temperature == first.temperature
    alone = RidgeClassifier().fit(
        *[svm.mean(torch.cat([train.stored, val.stored]).numpy()), [*train.labels, *val.labels]]
    )
    np.testing.assert_allclose(second.estimator[-1].coef_, alone.coef_, atol=1e-5)
    assert not np.allclose(first.estimator[-1].coef_, alone.coef_, atol=1e-3)
    assert fitted(Recorder(), train, val).refitted(train, val, [""] * 150).estimator[-1].fitted_on_ == [
        *train.labels.tolist(), *val.labels.tolist(),
    ]  # fmt: skip
