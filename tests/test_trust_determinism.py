"""A short form of `make trust ONLY=determinism`."""

from pathlib import Path

import pytest

from emotion_lightning.config import parts
from trust import determinism


def test_every_model_has_a_recipe() -> None:
    assert {*determinism.NETWORKS, *determinism.ONE_SIZE, *determinism.ESTIMATORS} == set(parts.names("models"))


@pytest.mark.slow
def test_a_model_gives_the_same_figures_twice_and_others_with_another_seed(tmp_path: Path) -> None:
    words = ("demo_small_cnn", *determinism.DEMO, *determinism.EPOCHS, determinism.SAMPLES)
    first, again = determinism.trained(tmp_path, *words), determinism.trained(tmp_path, *words)
    assert determinism.difference(first, again) == ""
    other = determinism.trained(tmp_path, *words, "seed=1")
    assert determinism.difference(first, other) != ""
