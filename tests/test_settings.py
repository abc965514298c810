"""What a settings file may say, and the one line that anything else gets."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from emotion_lightning import augment
from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.config.schema import Experiment, flatten
from emotion_lightning.errors import UserError

SHIPPED = sorted(settings.SHIPPED.glob("*.yaml"))
WHOLE = """
corpora:
  ravdess:
protocol: paper_random
features: {name: picture, height: 64}
augment:
  mixup:
  image_transforms: {max_rotate: 3.0}
model: {name: timm_backbone, backbone: resnet18, weights: none}
fit:
  stages:
    main: {epochs: 3, lr: 1e-3}
    late: {epochs: 2}
"""
MACHINE = {"data.dir", "data.cache", "data.samples", "fit.devices", "fit.accelerator", "fit.log_model"}
"""Settings that change where and how fast a run goes, but not what it computes."""


@pytest.fixture(autouse=True)
def only_shipped_parts(in_tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(parts.ENVIRONMENT, raising=False)


def written(name: str, text: str) -> str:
    Path(f"{name}.yaml").write_text(text, encoding="utf-8")
    return f"{name}.yaml"


def refusal(name: str, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        settings.load(name, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the package on its path, in the working directory."""
    environment = {**os.environ, "PYTHONPATH": str(settings.SHIPPED.parents[1]), "COLUMNS": "80"}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=120)


# ---------------------------------------------------------------- reading


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


# ---------------------------------------------------------------- refusing


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


# ---------------------------------------------------------------- the experiment


def test_an_experiment_cannot_be_changed() -> None:
    experiment = settings.load("resnet_aug")
    for part, field in ((experiment, "seed"), (experiment.fit, "devices"), (experiment.model, "name")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, field, getattr(part, field))


def test_flat_names_every_setting_by_the_path_that_overrides_it() -> None:
    experiment = settings.load("resnet_aug_small")
    flat = experiment.flat()
    assert flat["fit.stages.small.lr"] == "0.003"
    assert flat["augment.mixup.alpha"] == "0.4"
    overrides = [f"{path}={value}" for path, value in flat.items() if value not in ("None", "{}")]
    assert settings.load("resnet_aug_small", overrides) == experiment


def test_difference_names_what_is_not_the_same() -> None:
    old = settings.load("resnet_aug").flat()
    new = settings.load("resnet_aug", ["seed=3", "augment.mixup=off"])
    assert settings.difference(old, new) == ["augment.mixup.alpha: 0.4 → –", "seed: 0 → 3"]
    assert settings.difference(old, settings.load("resnet_aug")) == []


def changed(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    return {**tree, path[0]: value if len(path) == 1 else changed(tree[path[0]], path[1:], value)}


def leaves(tree: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def one_changed(experiment: Experiment) -> Iterator[tuple[str, Experiment]]:
    """For every setting that has another valid value, the experiment with that value."""
    words = [
        "imagenet",
        "none",
        "skip",
        "balanced",
        "last",
        "32",
        "cpu",
        "sgd",
        "exponential",
        "loss/val",
        "grey",
        "word",
    ]
    for path, value in leaves(experiment.model_dump(mode="json")):
        for other in [not value, 0.5, 0.25, 3, 600, 9000, {"depth": 1}, {"calm": "neutral"}, *words]:
            if other == value:
                continue
            try:
                yield ".".join(path), settings.check(changed(experiment.model_dump(mode="json"), path, other))
                break
            except UserError:
                pass


def test_the_signature_differs_for_all_settings_but_those_of_the_machine_and_of_answers() -> None:
    experiment = settings.load("resnet_aug")
    signatures = {path: other.signature() for path, other in one_changed(experiment)}
    fixed = {"protocol.name", "features.name", "model.name"}  # another part does not take these arguments
    assert experiment.flat().keys() - signatures.keys() <= fixed | {"corpora.ravdess", "corpora.savee", "emotions"}
    same = {path for path, signature in signatures.items() if signature == experiment.signature()}
    assert same == MACHINE | {"name", "about", "answer.min_confidence", "answer.coverage"}


@pytest.mark.parametrize(
    "override",
    ["protocol=speaker_folds", "features=mfcc", "model=small_cnn", "augment.mixup=off", "emotions.calm=neutral"],
)
def test_the_signature_differs_for_parts(override: str) -> None:
    assert (
        settings.load("resnet_scratch", ["fit.stages.main.size="]).signature()
        != settings.load("resnet_aug", [override]).signature()
    )
    assert settings.load("resnet_aug", [override]).signature() != settings.load("resnet_aug").signature()


def test_the_signature_is_of_the_content_and_not_of_the_file() -> None:
    one, other = settings.load(written("one", WHOLE)), settings.load(written("other", WHOLE + "about: the same\n"))
    assert one.name != other.name
    assert one.signature() == other.signature()
    spelt_out = WHOLE.replace("mixup:", "mixup: {alpha: 0.4}").replace("lr: 1e-3", "lr: 0.001, rounds: 1")
    assert settings.load(written("long", spelt_out)).signature() == one.signature()
    based = settings.load(written("based", "base: one\n"))
    assert based.signature() == one.signature()


def test_the_signature_does_not_depend_on_the_order_of_arguments() -> None:
    one = WHOLE.replace("{max_rotate: 3.0}", "{max_rotate: 3.0, p: 0.5}")
    other = WHOLE.replace("{max_rotate: 3.0}", "{p: 0.5, max_rotate: 3.0}").replace(
        "{name: timm_backbone, backbone: resnet18, weights: none}",
        "{weights: none, backbone: resnet18, name: timm_backbone}",
    )
    assert settings.load(written("one", one)).signature() == settings.load(written("other", other)).signature()


def test_the_signature_depends_on_the_order_of_stages_and_augmentations() -> None:
    """Stages run, and augmentations apply, in the order of the YAML."""

    def signature(stages: tuple[str, str], augmentations: tuple[str, str]) -> str:
        tree = yaml.safe_load(WHOLE)
        tree["fit"]["stages"] = {name: tree["fit"]["stages"][name] for name in stages}
        tree["augment"] = dict.fromkeys(augmentations)
        return settings.load(written("mine", yaml.safe_dump(tree, sort_keys=False))).signature()

    first = signature(("main", "late"), ("image_transforms", "spec_augment"))
    assert signature(("late", "main"), ("image_transforms", "spec_augment")) != first
    assert signature(("main", "late"), ("spec_augment", "image_transforms")) != first


def test_flatten_joins_paths_by_dots() -> None:
    assert flatten({"a": {"b": {"c": 1}, "d": {}}, "e": None}) == {"a.b.c": 1, "a.d": {}, "e": None}


# ---------------------------------------------------------------- the command line


def test_reading_settings_and_showing_help_import_nothing_heavy() -> None:
    code = "import sys, emotion_lightning.config.loader, emotion_lightning.cli.main; print(*sys.modules)"
    done = run("-c", code)
    assert done.returncode == 0, done.stderr
    heavy = {"torch", "torchaudio", "torchvision", "lightning", "mlflow", "timm", "sklearn", "matplotlib"}
    assert heavy & set(done.stdout.split()) == set()


def test_a_typo_ends_the_command_with_one_line_and_leaves_nothing() -> None:
    done = run("-m", "emotion_lightning", "train", "resnet_aug", "fit.lrr=1")
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "error: SET: fit.lrr: no such setting" in done.stderr
    assert list(Path.cwd().iterdir()) == []


def test_brackets_in_what_was_typed_are_shown_as_typed() -> None:
    done = run("-m", "emotion_lightning", "train", "resnet_aug", "fit.[red]x=1")
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
