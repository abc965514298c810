"""The reported figures, held against scikit-learn's."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    recall_score,
)
from torch import Tensor

from emotion_lightning.errors import UserError
from emotion_lightning.training.metrics import confusion, ece_if_calibrated, per_class, scores

CLASSES = 8
CASES = {
    "every class occurs": (range(8), range(8), 300),
    "classes absent from the labels": ((0, 2, 3, 6), range(8), 100),
    "classes that are never predicted": (range(8), (1, 4, 5), 200),
    "labels and predictions hardly meet": ((0, 1, 2), (2, 3, 4), 60),
    "one class": ((5,), range(8), 30),
    "one clip": ((3,), range(8), 1),
    "two clips": ((3, 7), (3,), 2),
}


def drawn(case: str, seed: int) -> tuple[Tensor, Tensor]:
    """labels (N,) and probabilities (N, CLASSES), somewhat better than chance."""
    labelled, predicted, count = CASES[case]
    chance = torch.Generator().manual_seed(seed)
    labels = torch.tensor(list(labelled))[torch.randint(len(labelled), (count,), generator=chance)]
    logits = torch.randn(count, CLASSES, generator=chance) + 1.5 * torch.nn.functional.one_hot(labels, CLASSES)
    logits[:, [c for c in range(CLASSES) if c not in predicted]] -= 12
    return labels, logits.softmax(1)


def calibration_error(true: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> float:
    """By its definition: |accuracy − mean confidence| of each filled bin, weighted by its clips."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == true
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = [
        (number == b).mean() * abs(right[number == b].mean() - confidence[number == b].mean()) for b in set(number)
    ]
    return float(sum(gaps))


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true", "ignore:A single label was found")
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("case", CASES)
def test_scores_are_scikit_learns(case: str, seed: int) -> None:
    labels, probabilities = drawn(case, seed)
    true, guess = labels.numpy(), probabilities.argmax(1).numpy()
    expected = {
        "loss": log_loss(true, probabilities.numpy(), labels=range(CLASSES)),
        "accuracy": accuracy_score(true, guess),
        "f1": f1_score(true, guess, average="macro", zero_division=0),
        "uar": balanced_accuracy_score(true, guess),
        "ece": calibration_error(true, probabilities.numpy()),
    }
    assert scores(labels, probabilities) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_confusion_is_scikit_learns(case: str) -> None:
    labels, probabilities = drawn(case, 2)
    expected = confusion_matrix(labels.numpy(), probabilities.argmax(1).numpy(), labels=range(CLASSES))
    assert confusion(labels, probabilities).tolist() == expected.tolist()


@pytest.mark.parametrize("case", CASES)
def test_recall_by_class_is_scikit_learns_and_nan_where_no_clip_is(case: str) -> None:
    labels, probabilities = drawn(case, 3)
    true, guess = labels.numpy(), probabilities.argmax(1).numpy()
    found = per_class(labels, probabilities)
    expected = recall_score(true, guess, labels=range(CLASSES), average=None, zero_division=np.nan)
    assert found.recall.numpy() == pytest.approx(expected, nan_ok=True)
    assert found.clips.tolist() == np.bincount(true, minlength=CLASSES).tolist()
    assert found.recall.isnan().tolist() == (found.clips == 0).tolist()


@pytest.mark.parametrize("case", CASES)
def test_f1_by_class_is_scikit_learns_and_nan_where_no_clip_is(case: str) -> None:
    labels, probabilities = drawn(case, 4)
    found = per_class(labels, probabilities)
    expected = f1_score(
        labels.numpy(), probabilities.argmax(1).numpy(), labels=range(CLASSES), average=None, zero_division=0
    )
    assert found.f1.numpy() == pytest.approx(np.where(found.clips > 0, expected, np.nan), nan_ok=True)


def test_a_case_by_hand() -> None:
    """Labels 0 0 0 1, guesses 0 0 1 1: recall 2/3 and 1, F1 4/5 and 2/3; every clip half sure, three of four right."""
    labels = torch.tensor([0, 0, 0, 1])
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.5, 0.3, 0.2], [0.25, 0.5, 0.25], [0.4, 0.5, 0.1]])
    assert scores(labels, probabilities) == pytest.approx(
        {
            "loss": -math.log(0.5 * 0.5 * 0.25 * 0.5) / 4,
            "accuracy": 3 / 4,
            "f1": (4 / 5 + 2 / 3) / 2,
            "uar": 5 / 6,
            "ece": 0.25,
        }
    )
    assert confusion(labels, probabilities).tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_a_clip_that_was_held_impossible_costs_much_but_not_infinitely() -> None:
    loss = scores(torch.tensor([0, 1]), torch.tensor([[0.0, 1.0], [0.0, 1.0]]))["loss"]
    assert 5 < loss < 50


def test_the_order_of_the_clips_changes_nothing() -> None:
    labels, probabilities = drawn("every class occurs", 5)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    assert scores(labels[order], probabilities[order]) == pytest.approx(scores(labels, probabilities))


def test_macro_f1_counts_a_class_that_was_only_predicted() -> None:
    """scikit-learn's macro average; over the classes of the labels alone it would be 0.8."""
    labels, guess = torch.tensor([0, 0, 0]), torch.tensor([0, 0, 1])
    assert scores(labels, torch.nn.functional.one_hot(guess, 2).float())["f1"] == pytest.approx(0.4)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_probabilities_that_are_not_finite_are_an_error(bad: float) -> None:
    probabilities = torch.full((4, 3), 1 / 3)
    probabilities[2] = bad
    with pytest.raises(UserError, match=r"not finite .* for 1 of 4 clips"):
        scores(torch.tensor([0, 1, 2, 0]), probabilities)


@pytest.mark.parametrize("clips", [96, 400])
def test_ece_if_calibrated_is_the_mean_ece_of_labels_drawn_from_the_probabilities(clips: int) -> None:
    random = torch.Generator().manual_seed(clips)
    probabilities = torch.softmax(1.5 * torch.randn(clips, CLASSES, generator=random), 1)
    draws = [torch.multinomial(probabilities, 1, generator=random)[:, 0] for _ in range(200)]
    expected = np.mean([calibration_error(labels.numpy(), probabilities.numpy()) for labels in draws])
    assert expected > 0.04
    assert ece_if_calibrated(probabilities) == pytest.approx(expected, rel=0.05)
    assert ece_if_calibrated(probabilities.flip(0)) == ece_if_calibrated(probabilities)


def test_ece_if_calibrated_is_zero_where_the_model_is_sure() -> None:
    assert ece_if_calibrated(torch.eye(4)) == 0.0
