"""The one line that a wrong settings file or override gets."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from settings_files import WHOLE, written

from emotion_lightning import augment
from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.errors import UserError

pytestmark = pytest.mark.usefixtures("only_shipped_parts")


def refusal(name: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        settings.load(name, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, in the working directory."""
    environment = {**os.environ, "PYTHONPATH": str(settings.SHIPPED.parents[1]), "COLUMNS": "80"}
    command = [sys.executable, "-m", "emotion_lightning", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("override", "path", "hint"),
    [
        ("sead=1", "sead: no such setting", "did you mean 'seed'?"),
        ("fit.devces=1", "fit.devces: no such setting", "did you mean 'devices'?"),
        ("fit.stages.large.lrr=1", "fit.stages.large.lrr: no such setting", "did you mean 'lr'?"),
        ("fit.zzz=1", "fit.zzz: no such setting", "there are: accelerator, beta2"),
        ("audio.trim=5", "audio.trim: no such setting", "did you mean 'trim_db'?"),
        ("augment.mixpu=", "augment.mixpu: no augmentation named 'mixpu'", "did you mean 'mixup'?"),
        ("corpora.ravdes=", "corpora.ravdes: no corpus named 'ravdes'", "did you mean 'ravdess'?"),
        ("protocol=speaker_fold", "protocol: no protocol named 'speaker_fold'", "did you mean 'speaker_folds'?"),
        ("features=pictures", "features: no feature named 'pictures'", "did you mean 'picture'?"),
        ("model=timm_backbon", "model: no model named 'timm_backbon'", "did you mean 'timm_backbone'?"),
        ("augment.mixup.alpah=1", "augment.mixup.alpah: no such setting", "did you mean 'alpha'?"),
        ("model.backbon=x", "model.backbon: no such setting", "did you mean 'backbone'?"),
        ("protocol.fold=1", "protocol.fold: no such setting", "there are: split_seed, test_share, val_share"),
        ("base=demo", "base: no such setting", ""),
    ],
)
def test_a_misspelt_name_is_refused_with_the_nearest_one(override: str, path: str, hint: str) -> None:
    message = refusal("resnet_aug", override)
    assert message.startswith(f"SET: {path}")
    assert message.endswith(hint) or (hint in message and hint.startswith("there are"))


@pytest.mark.parametrize(
    ("override", "path", "needed"),
    [
        ("fit.devices=two", "fit.devices", 'valid integer, not "two"'),
        ("fit.devices=0", "fit.devices", "greater than or equal to 1, not 0"),
        ("fit.devices=1.5", "fit.devices", "integer, not 1.5"),
        ("fit.devices='1'", "fit.devices", 'integer, not "1"'),
        ("seed=yes", "seed", "integer, not true"),
        ("fit.lr_search=1", "fit.lr_search", "boolean, not 1"),
        ("fit.precision=bf16", "fit.precision", "'bf16-mixed'"),
        ("fit.monitor=acc/val", "fit.monitor", 'not "acc/val"'),
        ("fit.ema=.nan", "fit.ema", "NaN"),
        ("fit.ema=1", "fit.ema", "less than 1, not 1"),
        ("fit=5", "fit", "not 5"),
        ("fit.stages.small=on", "fit.stages.small", "not true"),
        ("fit.stages.small.lr=fast", "fit.stages.small.lr", 'number, not "fast"'),
        ("augment.mixup.alpha=high", "augment.mixup.alpha", 'number, not "high"'),
        ("features.height=tall", "features.height", 'integer, not "tall"'),
        ("features.colour=red", "features.colour", "'viridis'"),
        ("model.options=3", "model.options", "not 3"),
        ("protocol=", "protocol", "not null"),
        ("corpora=3", "corpora", "not 3"),
    ],
)
def test_a_wrong_type_is_refused_with_what_is_needed(override: str, path: str, needed: str) -> None:
    message = refusal("resnet_aug", override)
    assert message.startswith(f"SET: {path}: ")
    assert needed in message


@pytest.mark.parametrize("override", ["fit.devices", "=3", "fit.devices=[1", "about=a: b: c", "seed={a: 1, a: 2}"])
def test_a_broken_override_is_refused_and_shown(override: str) -> None:
    assert refusal("resnet_aug", override).startswith(f"SET: '{override}'")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("fit: {devcies: 1}", "fit.devcies: no such setting; did you mean 'devices'?"),
        ("fit: {devices: many}", "fit.devices: it should be a valid integer"),
        ("augment: {mixup: {alpah: 1}}", "augment.mixup.alpah: no such setting; did you mean 'alpha'?"),
        ("augment: {mixpu: }", "augment.mixpu: no augmentation named 'mixpu'; did you mean 'mixup'?"),
        ("model: nix", "model: no model named 'nix'"),
        ("fit: ", "fit: it should be an object, not null"),
    ],
)
def test_a_fault_in_a_file_is_reported_with_the_file(text: str, expected: str) -> None:
    assert refusal(written("mine", f"base: resnet_aug\n{text}\n")).startswith(f"mine.yaml: {expected}")


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("seed: 1\nseed: 2", 3, "duplicate key 'seed'"),
        ("fit: {devices: 1, devices: 2}", 2, "duplicate key 'devices'"),
        ("seed: 1\nfit:\n  devices: 1\n  devices: 2", 5, "duplicate key 'devices'"),
        ("fit: [1", 2, "expected ',' or ']'"),
        ("seed: 1\nfit: [1\nabout: x", 3, "expected ',' or ']'"),
        ("seed: 1\nabout\nfit: 2", 3, "could not find expected ':'"),
        ("seed: 1\nabout: 'x\nfit: 2", 3, "found unexpected end of stream"),
        ("seed: 1\n- 2", 3, "expected <block end>"),
        ("about: !fraction 1", 2, "could not determine a constructor for the tag '!fraction'"),
        ("? [a]\n: 1", 2, "found unhashable key"),
    ],
)
def test_a_file_that_is_not_yaml_is_reported_with_the_line_of_the_mistake(
    text: str, line: int, expected: str
) -> None:
    message = refusal(written("mine", f"base: resnet_aug\n{text}\n"))
    assert message.startswith(f"mine.yaml line {line}: not YAML: {expected}")


def test_a_fault_in_a_base_is_reported_with_the_base() -> None:
    written("below", WHOLE + "seeed: 1\n")
    assert (
        refusal(written("above", "base: below\nseed: 1\n"))
        == "below.yaml: seeed: no such setting; did you mean 'seed'?"
    )


def test_several_faults_are_reported_at_once_one_to_a_line() -> None:
    with pytest.raises(UserError) as caught:
        settings.load("resnet_aug", ["sead=1", "fit.devices=two"])
    assert {line.split(":")[1].strip() for line in str(caught.value).splitlines()} == {"sead", "fit.devices"}


def test_a_missing_setting_is_named_with_the_file_that_lacks_it() -> None:
    without = {key: value for key, value in yaml.safe_load(WHOLE).items() if key != "protocol"}
    assert refusal(written("mine", yaml.safe_dump(without))) == "mine.yaml: protocol: missing"
    written("below", yaml.safe_dump(without))
    assert refusal(written("above", "base: below\n")) in (
        "above.yaml: protocol: missing",
        "below.yaml: protocol: missing",
    )


def test_an_empty_file_is_named_with_what_it_lacks() -> None:
    with pytest.raises(UserError) as caught:
        settings.load(written("mine", ""))
    assert "mine.yaml: model: missing" in str(caught.value).splitlines()


def test_a_missing_part_argument_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own/augment").mkdir(parents=True)
    Path("own/augment/needy.py").write_text("def build(*, gain: float): ...\n")
    monkeypatch.setenv(parts.ENVIRONMENT, "own")
    monkeypatch.setattr(augment, "__path__", [*augment.__path__])  # that the folder stays in this test
    assert refusal("resnet_aug", "augment.needy=") == "SET: augment.needy.gain: missing"
    assert settings.load("resnet_aug", ["augment.needy.gain=2"]).augment["needy"] == {"gain": 2.0}


def test_an_unknown_experiment_is_refused_with_the_nearest_name() -> None:
    assert refusal("resnet_agu") == "no experiment named 'resnet_agu'; did you mean 'resnet_aug'?"
    assert refusal("nix.yaml") == "there is no file 'nix.yaml'"


@pytest.mark.parametrize("base", ["nix", "my_base", "below.yaml"])
def test_a_missing_base_is_reported_with_the_file_that_asks_for_it(base: str) -> None:
    message = refusal(written("mine", f"base: {base}\n"))
    assert message.startswith("mine.yaml: base: ")
    assert f"'{base}'" in message


def test_a_missing_base_of_a_base_is_reported_with_the_base() -> None:
    written("below", "base: nix\n")
    assert refusal(written("above", "base: below\n")).startswith("below.yaml: base: no experiment named 'nix'")


@pytest.mark.parametrize("ring", [["a"], ["a", "b"], ["a", "b", "c"]])
def test_a_ring_of_bases_is_refused(ring: list[str]) -> None:
    for name, base in zip(ring, [*ring[1:], ring[0]], strict=True):
        written(name, f"base: {base}\n")
    message = refusal(written("mine", "base: a\n"))
    assert message.split(":")[0] in {f"{name}.yaml" for name in ring}
    assert "base: circular base" in message


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"- 1\n", b"word\n"])
def test_a_file_that_is_no_mapping_is_refused(content: bytes) -> None:
    Path("mine.yaml").write_bytes(content)
    assert refusal("mine.yaml").startswith("mine.yaml: ")


def test_a_typo_ends_the_command_with_one_line_and_leaves_nothing() -> None:
    done = run("train", "resnet_aug", "fit.lrr=1")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "error: SET: fit.lrr: no such setting" in done.stderr
    assert list(Path.cwd().iterdir()) == []


def test_brackets_in_what_was_typed_are_shown_as_typed() -> None:
    done = run("train", "resnet_aug", "fit.[red]x=1")
    assert done.returncode == 2
    assert "SET: fit.[red]x: no such setting" in done.stderr


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("augment.mixpu=off", "SET: augment.mixpu: there is nothing to switch off; did you mean 'mixup'?"),
        ("corpora.ravdes=off", "SET: corpora.ravdes: there is nothing to switch off; did you mean 'ravdess'?"),
        ("fit.stages.smal=off", "SET: fit.stages.smal: there is nothing to switch off; did you mean 'small'?"),
        ("fit.stages.smal.epochs=5", "SET: fit.stages.smal: there is no such stage; did you mean 'small'?"),
        ("fit.stages.third.lr=0.1", "SET: fit.stages.third: a new stage needs epochs or frozen_epochs"),
        ("augment={mixpu: off}", "SET: augment.mixpu: there is nothing to switch off; did you mean 'mixup'?"),
    ],
)
def test_a_change_of_a_misspelt_entry_is_refused(override: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        settings.load("resnet_aug", [override])
    assert str(error.value).startswith(message)


def test_a_misspelt_entry_in_a_file_with_a_base_is_refused() -> None:
    file = written("mine", "base: resnet_aug\naugment: {mixpu: off}\n")
    with pytest.raises(UserError, match=r"augment\.mixpu: there is nothing to switch off; did you mean 'mixup'"):
        settings.load(file)
