"""How settings are read: files and what they are based on, overrides, defaults, `on` and `off`."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from settings_files import WHOLE, written

from emotion_lightning.config import loader as settings
from emotion_lightning.errors import UserError

pytestmark = pytest.mark.usefixtures("only_shipped_parts")

SHIPPED = sorted(settings.SHIPPED.glob("*.yaml"))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_experiment_loads_by_name_and_by_path(file: Path) -> None:
    experiment = settings.load(file.stem)
    assert experiment.name == file.stem
    assert experiment.about
    assert settings.load(str(file)) == experiment
    # the ranges of a search are in no dump, since they change no run
    without_ranges = experiment.model_copy(update={"search": {}})
    assert settings.check(experiment.model_dump(mode="json")) == without_ranges


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_a_shipped_experiment_opens_with_what_it_is_and_its_command(file: Path) -> None:
    header = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert len(header) >= 3
    assert any(f"make train EXP={file.stem}" in line for line in header)


def test_shipped_experiments_and_those_of_the_working_directory_are_found_by_name() -> None:
    assert settings.names() == [f.stem for f in SHIPPED]
    Path("experiments").mkdir()
    written("experiments/mine", WHOLE)
    assert "mine" in settings.names()
    assert settings.load("mine").model.args["backbone"] == "resnet18"


def test_an_experiment_says_only_what_differs_from_its_base() -> None:
    written("first", WHOLE)
    written("second", "base: first\nmodel: {backbone: resnet34}\nfit: {stages: {late: {epochs: 9}}}\n")
    third = settings.load(written("third", "base: second\nseed: 7\naugment: {mixup: off}\n"))
    assert third.seed == 7
    assert third.model.args["backbone"] == "resnet34"
    assert third.model.args["weights"] == "none"
    assert {name: stage.epochs for name, stage in third.fit.stages.items()} == {"main": 3, "late": 9}
    assert list(third.augment) == ["image_transforms"]


def test_a_base_next_to_the_file_precedes_a_shipped_one_of_its_name() -> None:
    written("resnet_aug", WHOLE)
    assert settings.load(written("child", "base: resnet_aug\n")).model.args["backbone"] == "resnet18"


def test_a_base_may_be_a_shipped_experiment() -> None:
    assert settings.load(written("child", "base: resnet_aug\n")).model.args["backbone"] == "resnet34"


def test_overrides_win_and_the_last_of_them_wins() -> None:
    experiment = settings.load("resnet_aug", ["fit.stages.small.epochs=2", "seed=4", "seed=5", "fit.ema=0.99"])
    assert experiment.fit.stages["small"].epochs == 2
    assert experiment.fit.stages["small"].frozen_epochs == 5
    assert (experiment.seed, experiment.fit.ema) == (5, 0.99)


def test_a_part_may_be_given_by_its_bare_name() -> None:
    experiment = settings.load("resnet_aug", ["protocol=speaker_folds", "protocol.fold=2"])
    assert experiment.protocol.name == "speaker_folds"
    assert experiment.protocol.args["fold"] == 2
    assert settings.load(written("mine", WHOLE)).protocol.name == "paper_random"


@pytest.mark.parametrize("override", ["model=small_cnn", "model.name=small_cnn", "model={name: small_cnn}"])
def test_another_name_replaces_the_whole_mapping(override: str) -> None:
    assert settings.load("resnet_aug", [override]).model.args == {"width": 16, "norm": "batch", "dropout": 0.1}


def test_the_same_name_again_keeps_the_mapping() -> None:
    again = settings.load("resnet_transfer", ["model=timm_backbone", "model.hidden=64"])
    assert again.model.args["backbone"] == "resnet34"
    assert again.model.args["hidden"] == 64


def test_an_empty_part_has_its_defaults() -> None:
    experiment = settings.load(written("mine", WHOLE))
    assert experiment.augment["mixup"] == {"alpha": 0.4}


def test_defaults_of_part_arguments_are_filled_in() -> None:
    experiment = settings.load(written("mine", WHOLE))
    assert experiment.augment["image_transforms"] == {
        "max_rotate": 3.0,
        "max_zoom": 1.05,
        "max_lighting": 0.1,
        "p": 0.75,
    }
    assert experiment.protocol.args == {"split_seed": 0, "val_share": 0.05, "test_share": 0.05}
    assert experiment.model.args["hidden"] == 512
    assert (experiment.features.args["height"], experiment.features.args["width"]) == (64, 256)


def test_off_removes_a_part_and_a_stage() -> None:
    experiment = settings.load(written("mine", WHOLE), ["augment.mixup=off", "fit.stages.main=off"])
    assert list(experiment.augment) == ["image_transforms"]
    assert list(experiment.fit.stages) == ["late"]
    assert list(settings.load("resnet_aug").fit.stages) == ["small", "large"]


def test_a_part_that_was_off_can_be_asked_for_again() -> None:
    experiment = settings.load("resnet_aug", ["augment.mixup=off", "augment.mixup.alpha=0.2"])
    assert experiment.augment["mixup"] == {"alpha": 0.2}


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.e-3", "1.0e-3", "+1e-3", "0.001", "10e-4"])
def test_a_number_with_an_exponent_is_a_number(text: str) -> None:
    assert settings.load("resnet_aug", [f"fit.stages.small.lr={text}"]).fit.stages["small"].lr == 0.001


@pytest.mark.parametrize("text", ["e3", "1e", "resnet10e3", "1e-3s"])
def test_a_word_that_looks_like_a_number_stays_a_word(text: str) -> None:
    assert settings.load(written("mine", WHOLE), [f"model.backbone={text}"]).model.args["backbone"] == text


def test_an_experiment_cannot_be_changed() -> None:
    experiment = settings.load("resnet_aug")
    for part, field in ((experiment, "seed"), (experiment.fit, "devices"), (experiment.model, "name")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, field, getattr(part, field))


def test_the_default_stage_can_be_changed_and_a_misspelt_one_cannot() -> None:
    assert settings.load("svm", ["fit.stages.main.epochs=3"]).fit.stages["main"].epochs == 3
    with pytest.raises(UserError, match=r"fit\.stages\.mian: there is no such stage; did you mean 'main'"):
        settings.load("svm", ["fit.stages.mian.epochs=3"])


def test_what_is_off_already_can_be_switched_off_again() -> None:
    assert "mixup" not in settings.load("resnet_aug_no_mixup", ["augment.mixup=off"]).augment


def test_on_adds_a_corpus_and_keeps_the_settings_of_one_that_is_on() -> None:
    assert list(settings.load("svm", ["corpora.savee=off", "corpora.emodb=on"]).corpora) == ["ravdess", "emodb"]
    assert settings.load("resnet_aug", ["augment.mixup.alpha=0.2", "augment.mixup=on"]).augment["mixup"] == {
        "alpha": 0.2
    }


def test_a_list_of_corpora_replaces_those_of_the_file_and_keeps_their_settings() -> None:
    chosen = settings.load("svm", ["corpora=[emodb, savee]"])
    assert list(chosen.corpora) == ["emodb", "savee"]
    assert settings.load("svm", ["corpora=emodb"]).corpora.keys() == {"emodb"}
    both = settings.load("demo_svm", ["corpora=[demo, savee]"])
    assert both.corpora["demo"] == settings.load("demo_svm").corpora["demo"]
    with pytest.raises(UserError, match=r"SET: corpora.emdb: no corpus named 'emdb'; did you mean 'emodb'"):
        settings.load("svm", ["corpora=[emdb]"])
