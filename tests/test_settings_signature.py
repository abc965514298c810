"""Settings by their paths, what differs between two experiments, and the signature that names a run's settings."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from settings_files import WHOLE, written

from emotion_lightning.config import loader as settings
from emotion_lightning.config.schema import Experiment, flatten
from emotion_lightning.errors import UserError

pytestmark = pytest.mark.usefixtures("only_shipped_parts")

MACHINE = {"data.dir", "data.cache", "data.samples", "fit.devices", "fit.accelerator", "fit.log_model"}
"""Settings that change where and how fast a run goes, but not what it computes."""


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
