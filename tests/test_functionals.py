"""openSMILE's functionals as a feature: the values are those of its own names, and what a tone must have."""

import sys
from typing import Any

import numpy as np
import opensmile
import pytest
import torch
from conftest import hiss, tone
from scipy.signal import sawtooth

from emotion_lightning.errors import UserError
from emotion_lightning.features import functionals

RATE = 16_000


def compute(wave: Any, **settings: Any) -> np.ndarray:
    """(values,) of one clip."""
    stored, valid = functionals.build(RATE, **settings)(torch.tensor(wave).float()[None], torch.tensor([len(wave)]))
    assert valid.tolist() == [1.0]
    return stored[0, 0, :, 0].numpy()


@pytest.mark.parametrize(("name", "count"), [("eGeMAPSv02", 88), ("ComParE_2016", 6373)])
def test_the_values_are_in_the_order_of_opensmiles_names(name: str, count: int) -> None:
    wave = 0.3 * sawtooth(2 * np.pi * 220 * np.arange(RATE) / RATE)
    smile = opensmile.Smile(getattr(opensmile.FeatureSet, name), opensmile.FeatureLevel.Functionals)
    found = compute(wave, feature_set=name)
    assert len(found) == count == len(smile.feature_names)
    if name == "eGeMAPSv02":  # its pitch is in semitones above 27.5 Hz; 220 Hz is three octaves above
        assert found[smile.feature_names.index("F0semitoneFrom27.5Hz_sma3nz_amean")] == pytest.approx(36, abs=0.2)


def test_padding_after_a_clip_has_no_effect() -> None:
    feature = functionals.build(RATE)
    clips = [hiss(0.7).astype(np.float32), tone(300, 1.1).astype(np.float32)]
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(clip) for clip in clips], batch_first=True)
    together, _ = feature(padded, torch.tensor([len(clip) for clip in clips]))
    for row, clip in zip(together, clips, strict=True):
        np.testing.assert_array_equal(row[0, :, 0], compute(clip))


@pytest.mark.parametrize(
    "wave", [np.zeros(RATE), np.full(3, 0.1), np.zeros(1)], ids=["silent", "3 samples", "1 sample"]
)
def test_silent_and_short_clips_have_finite_values(wave: Any) -> None:
    assert np.isfinite(compute(wave)).all()


def test_without_opensmile_the_message_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(UserError, match=r"pip install 'emotion-lightning\[opensmile\]'"):
        compute(hiss(0.5))
