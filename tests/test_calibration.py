"""Temperature, sets of emotions and withheld answers, against simulation and cases by hand."""

import numpy as np
import pytest
import torch

from emotion_lightning.training import calibration
from emotion_lightning.training.calibration import Calibration, answered, calibrate


def drawn(clips: int, seed: int, classes: int = 6, scale: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels (N,) that are drawn from calibrated probabilities, and these probabilities with logits times `scale`."""
    random = torch.Generator().manual_seed(seed)
    logits = 1.5 * torch.randn(clips, classes, generator=random)
    labels = torch.multinomial(logits.softmax(1), 1, generator=random)[:, 0]
    return labels, (logits * scale).softmax(1)


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_the_temperature_undoes_a_scale_of_the_logits(scale: float) -> None:
    labels, probabilities = drawn(20_000, seed=1, scale=scale)
    found = calibrate(labels, probabilities, 0.9)
    assert found.temperature == pytest.approx(scale, rel=0.06)
    _, calibrated = drawn(20_000, seed=1)
    assert (found.apply(probabilities) - calibrated).abs().max() < 0.03


def test_calibration_keeps_the_order_of_emotions_and_sums_to_one() -> None:
    _, probabilities = drawn(500, seed=2)
    for temperature in (0.2, 1.0, 7.0):
        calibrated = Calibration(temperature).apply(probabilities)
        assert torch.equal(calibrated.argsort(1), probabilities.argsort(1))
        torch.testing.assert_close(calibrated.sum(1), torch.ones(500))


def test_sets_contain_the_true_emotion_as_often_as_promised() -> None:
    """The promise of split conformal prediction, as the mean over 300 draws of 50 validation and 200 test clips."""
    coverages = []
    for seed in range(300):
        labels, probabilities = drawn(250, seed, scale=2.0)
        found = calibrate(labels[:50], probabilities[:50], 0.8)
        coverages.append(calibration.scores(found, labels[50:], probabilities[50:])["set_coverage"])
    # ⌈51 · 0.8⌉ / 51 = 0.804 is the mean without ties; the most probable emotion is always in the set, which adds a little
    assert np.mean(coverages) == pytest.approx(0.804, abs=0.012)


def test_the_threshold_is_the_rank_by_hand() -> None:
    labels = torch.zeros(9, dtype=torch.long)
    first = torch.linspace(0.1, 0.9, 9)
    probabilities = torch.stack([first, 1 - first], 1)
    found = calibrate(labels, probabilities, 0.7)  # ⌈10 · 0.7⌉ = 7: the 7th highest of 0.9, 0.8 … 0.1
    of_label = found.apply(probabilities)[:, 0].sort(descending=True).values
    assert found.threshold == pytest.approx(float(of_label[6]))


def test_too_few_validation_clips_give_sets_of_all_emotions() -> None:
    labels, probabilities = drawn(8, seed=3)
    found = calibrate(labels, probabilities, 0.9)  # ⌈9 · 0.9⌉ = 9 > 8
    assert found.threshold == 0 and found.sets(found.apply(probabilities)).all()


def test_a_set_has_at_least_the_most_probable_emotion() -> None:
    sets = Calibration(threshold=0.9).sets(torch.tensor([[0.5, 0.3, 0.2], [0.95, 0.03, 0.02]]))
    assert sets.tolist() == [[True, False, False], [True, False, False]]


def test_a_class_without_training_clip_does_not_set_the_temperature() -> None:
    labels, probabilities = drawn(2000, seed=4, scale=2.0)
    expected = calibrate(labels, probabilities, 0.9).temperature
    unknown = torch.cat([probabilities, torch.zeros(2000, 1)], 1)
    found = calibrate(torch.cat([labels, torch.tensor([6])]), torch.cat([unknown, unknown[:1]]), 0.9)
    assert found.temperature == pytest.approx(expected, rel=1e-2)
    assert calibrate(torch.tensor([6, 6]), unknown[:2], 0.9).temperature == 1


def test_a_few_clips_that_are_all_right_do_not_give_any_confidence() -> None:
    probabilities = torch.full((32, 8), 0.6 / 7)
    probabilities[:, 0] = 0.4
    found = calibrate(torch.zeros(32, dtype=torch.long), probabilities, 0.9)
    assert 0.2 < found.temperature < 1
    assert float(found.apply(probabilities).max()) == pytest.approx(1 - 1 / 34 * 7 / 8, abs=0.01)


def test_withheld_answers_by_hand() -> None:
    labels = torch.tensor([0, 1, 0, 1])
    calibrated = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4]])
    curve = answered(labels, calibrated)
    assert curve.confidence.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert curve.share.tolist() == [0.25, 0.5, 0.75, 1]
    assert curve.accuracy.tolist() == pytest.approx([1, 1, 2 / 3, 0.5])


def test_the_rank_of_the_threshold_is_exact() -> None:
    labels = torch.zeros(99, dtype=torch.long)
    first = torch.linspace(0.01, 0.99, 99)
    probabilities = torch.stack([first, 1 - first], 1)
    found = calibrate(labels, probabilities, 0.55)  # 100 · 0.55 is 55, and 55.00000000000001 as a product of floats
    of_label = found.apply(probabilities)[:, 0].sort(descending=True).values
    assert found.threshold == pytest.approx(float(of_label[54]), abs=1e-7)
