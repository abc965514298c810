"""EmotionEstimator: probabilities from decision values, and classes that training did not have."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from emotion_lightning import settings
from emotion_lightning.data import Batch
from emotion_lightning.estimator import EmotionEstimator, temperature
from emotion_lightning.features import log_mel


def clips(classes: int, count: int, seed: int) -> Batch:
    """`count` clips whose features tell `classes` classes apart, if not well."""
    chance = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    stored = torch.randn(count, 1, 5, 8, generator=chance)
    stored += 0.5 * torch.nn.functional.one_hot(labels, 5)[:, None, :, None]
    return Batch(torch.arange(count), labels, stored, torch.ones(count))


def fitted(classifier: Any, train: Batch, val: Batch, classes: int = 3) -> EmotionEstimator:
    pipeline = make_pipeline(FunctionTransformer(lambda x: np.nanmean(x, 3).reshape(len(x), -1)), classifier)
    feature = log_mel.build(16_000, bands=5, frames=8)
    model = EmotionEstimator(settings.load("demo_svm"), feature, pipeline, "abcdefgh"[:classes])
    model.fit(train, val)
    return model


def test_decision_values_become_probabilities_with_the_temperature_of_least_loss_on_the_validation_side() -> None:
    train, val = clips(3, 90, 0), clips(3, 60, 1)
    model = fitted(RidgeClassifier(), train, val)
    logits = torch.from_numpy(model.estimator.decision_function(val.stored.numpy())).float()
    found = model.probabilities(val.stored, val.extent)
    torch.testing.assert_close(found, (logits / model.temperature).softmax(1))
    losses = [float(torch.nn.functional.cross_entropy(logits / t, val.labels)) for t in np.geomspace(0.02, 50, 200)]
    ours = float(-found.gather(1, val.labels[:, None]).log().mean())
    assert ours <= min(losses) + 1e-4 < float(torch.nn.functional.cross_entropy(logits, val.labels))
    assert torch.equal(found.argmax(1), logits.argmax(1))


def test_probabilities_of_the_estimators_own_are_left_as_they_are() -> None:
    train, val = clips(3, 90, 0), clips(3, 60, 1)
    model = fitted(LogisticRegression(), train, val)
    expected = torch.from_numpy(model.estimator.predict_proba(val.stored.numpy())).float()
    torch.testing.assert_close(model.probabilities(val.stored, val.extent), expected)


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
