"""The numeric settings of all shipped parts have ranges, so that a senseless value is one line and not a traceback."""

from collections.abc import Iterator

import pytest
from pydantic import ValidationError

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.errors import UserError

CHECKED_BY_THE_PART = {
    "fold",
    "speakers",
    "takes",
    "seed",
}  # a protocol names its folds, the DEMO corpus its speakers


def numeric() -> Iterator[tuple[str, str, str]]:
    for kind in parts.ENTRY:
        for name in parts.names(kind):
            for setting, field in parts.arguments(kind, name).model_fields.items():
                if field.annotation in (int, float) and setting not in CHECKED_BY_THE_PART:
                    yield kind, name, setting


@pytest.mark.parametrize(("kind", "name", "setting"), numeric(), ids="-".join)
def test_a_number_far_outside_any_sense_is_refused(kind: str, name: str, setting: str) -> None:
    accepted = parts.arguments(kind, name)
    values = [-(10**9)] if accepted.model_fields[setting].annotation is int else [-1e9, float("nan")]
    for value in values:
        with pytest.raises(ValidationError):
            accepted(**{setting: value})


def test_there_are_settings_to_test() -> None:
    found = set(numeric())
    assert len(found) > 50 and {kind for kind, _, _ in found} == {"protocols", "features", "augment", "models"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.width=0", "SET: model.width: it should be greater than 0, not 0"),
        ("features.hop=0", "SET: features.hop: it should be greater than or equal to 16, not 0"),
        ("fit.stages.small.size=100000", "SET: fit.stages.small.size: it should be less than or equal to 2048, not 100000"),
        ("augment.mixup.alpha=-1", "SET: augment.mixup.alpha: it should be greater than 0, not -1"),
    ],
)  # fmt: skip
def test_the_message_names_the_setting_and_its_range(override: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        settings.load("demo_small_cnn", ["fit.stages.small.epochs=1", override])
    assert str(error.value) == message


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(UserError, match="20 bands have at most as many coefficients, not 40"):
        parts.entry("features", "mfcc")(16_000, coefficients=40, bands=20)
    with pytest.raises(UserError, match="min_snr_db=30 is larger than max_snr_db=10"):
        parts.entry("augment", "noise")(min_snr_db=30, max_snr_db=10)
