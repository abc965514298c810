"""The shipped experiments can be built and take a step; one trains on the real clips."""

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from emotion_lightning.config import loader as settings
from emotion_lightning.config.schema import Experiment, Fit
from emotion_lightning.train import build, train


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
