"""The command in a run's description trains the same again."""

import shlex
from pathlib import Path

import pytest

from emotion_lightning.cli.app import all_overrides
from emotion_lightning.config import loader as settings
from emotion_lightning.config.command import train_command

pytestmark = pytest.mark.usefixtures("only_shipped_parts")


def typed(command: str) -> tuple[str, list[str]]:
    """The experiment and the overrides that the command line gets: make's variables, where SET is divided at blanks."""
    program, target, *variables = shlex.split(command)
    assert (program, target) == ("make", "train")
    given = dict(variable.split("=", 1) for variable in variables)
    protocol = [f"protocol={given['PROTOCOL']}"] if "PROTOCOL" in given else []
    words = [*protocol, *given.get("SET", "").split()]
    data = Path(given["DATA"]) if "DATA" in given else None
    return given["EXP"], all_overrides(words, given.get("CORPORA"), data, None)


@pytest.mark.parametrize("name", settings.names())
def test_a_shipped_experiment_needs_its_name_only(name: str) -> None:
    assert train_command(settings.load(name)) == f"make train EXP={name}"


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("demo", ["seed=3", "protocol=random", "protocol.fold=2", "augment.mixup=off", "augment.noise=on"]),
        ("demo", ["augment.mixup.alpha=0.25", "fit.stages.small=off", "fit.stages.large.lr=1e-5"]),
        ("svm", ["corpora=[emodb, savee]", "emotions.calm=neutral", "emotions.disgust=off", "data.dir='my corpora'"]),
        ("svm", ["model=lstm", "features=log_mel", "features.frames=99"]),
        ("resnet_aug", ["fit.clip_grad=1.5", "audio.trim_db=null", "fit.stages.small.epochs=1"]),
        ("cnn1d_attention_16rows", ["augment.copies=off", "protocol=speaker_folds"]),
    ],
)
def test_the_command_gives_the_same_settings_again(name: str, overrides: list[str]) -> None:
    experiment = settings.load(name, overrides)
    found, words = typed(train_command(experiment))
    assert found == name
    again = settings.load(found, words)
    assert again == experiment and again.signature() == experiment.signature()


def test_settings_of_the_machine_are_not_in_the_command() -> None:
    experiment = settings.load(
        "demo", ["data.cache=elsewhere", "data.samples=0", "fit.devices=2", "fit.log_model=false"]
    )
    assert train_command(experiment) == "make train EXP=demo"


@pytest.mark.parametrize("value", ["a b", "a;b", "$HOME", "{a: b}"])
def test_what_make_would_change_is_left_to_the_settings_that_the_run_keeps(value: str) -> None:
    experiment = settings.load("resnet_transfer", [f"model.weights='{value}'"])
    assert train_command(experiment) == "make train EXP=settings.yaml"


def test_an_experiment_without_a_file_is_repeated_from_the_settings_that_the_run_keeps() -> None:
    Path("mine.yaml").write_text("base: demo\n")
    assert train_command(settings.load("mine.yaml")) == "make train EXP=settings.yaml"
