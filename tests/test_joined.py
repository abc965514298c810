"""Features that are joined frame by frame, and prosody, which is made to be joined."""

from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch
from conftest import hiss, tone
from test_encoder import batch
from test_features import voice

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.errors import UserError

RATE = 16_000
SPEAKERS = ("corpora.demo={speakers: 4, takes: 1}", "protocol.folds=3")  # those of `demo_data`


def feature(name: str, **arguments: Any) -> Any:
    return parts.entry("features", name)(RATE, **arguments)


# ---------------------------------------------------------------- joined features

OF = {"mfcc": {"hop": 320, "frames": 50, "coefficients": 7}, "prosody": {"hop": 320, "frames": 50}}


def test_joined_features_are_each_one_side_by_side() -> None:
    clips = batch(hiss(0.7), tone(300, 1.2))
    joined, valid = feature("joined", of=OF)(*clips)
    assert joined.shape == (2, 1, 13, 50)
    for name, rows in (("mfcc", slice(0, 7)), ("prosody", slice(7, 13))):
        expected, share = feature(name, **OF[name])(*clips)
        torch.testing.assert_close(joined[:, :, rows], expected)
        torch.testing.assert_close(valid, share)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({"mfcc": {"coefficents": 7}}, "features.of.mfcc.coefficents: no such setting; did you mean 'coefficients'"),
        ({"mfc": {}}, "features.of.mfc: no feature named 'mfc'; did you mean 'mfcc'"),
        ({}, "features.of: give at least one value"),
    ],
)
def test_wrong_parts_of_a_joined_feature_are_one_line(of: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        settings.load("demo_svm", ["features=joined", *(f"features.of={of}" for _ in "1")])
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_picture_and_unequal_frames_cannot_be_joined() -> None:
    with pytest.raises(UserError, match=r"features.of.picture: a picture cannot be joined"):
        feature("joined", of={"picture": {}})
    unequal = feature("joined", of={"mfcc": {"frames": 40}, "prosody": {"frames": 50}})
    with pytest.raises(
        UserError, match="same number of channels and of frames, and have mfcc 1 and 40, prosody 1 and 50"
    ):
        unequal(*batch(hiss(0.5)))


def test_joined_features_come_from_the_cache_as_they_are(demo_data: Path) -> None:
    overrides = [f"data.cache={demo_data}", *SPEAKERS, "features=joined", f"features.of={OF}", "model=small_cnn"]
    data = EmotionData(settings.load("demo_svm", overrides))
    data.setup()
    assert data.feature.made_of == ("mfcc", "prosody")
    clip = torch.tensor([int(data.split.train[0])])
    stored, valid = data.gather(clip, torch.device("cpu"))[2:]
    expected, share = data.feature(*batch(data.waveform(int(clip))))
    torch.testing.assert_close(stored, expected)
    torch.testing.assert_close(valid, share)


def test_the_cache_depends_on_the_code_of_each_joined_feature(
    demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "features").mkdir()
    file = tmp_path / "features" / "loudness_of_mine.py"
    code = "from emotion_lightning.features.prosody import build as prosody\n\ndef build(sample_rate, *, frames: int = 50):\n"
    file.write_text(code + "    return prosody(sample_rate, frames=frames)\n")
    monkeypatch.setenv(parts.ENVIRONMENT, str(tmp_path))
    digests = []
    for _ in range(2):
        overrides = [
            f"data.cache={demo_data}",
            *SPEAKERS,
            "features=joined",
            "features.of={loudness_of_mine: {}}",
            "model=small_cnn",
        ]
        data = EmotionData(settings.load("demo_svm", overrides))
        data.setup()
        digests.append(data.digest("train"))
        file.write_text(file.read_text() + "# changed\n")
    assert digests[0] != digests[1]


# ---------------------------------------------------------------- prosody


def test_the_pitch_of_a_glide_and_the_energy_of_a_swell_are_found() -> None:
    seconds, hop = 1.0, 160
    time = np.arange(int(seconds * RATE)) / RATE
    hertz = 200 * 2**time  # one octave up
    loud = 10 ** (-(1 - time))  # 20 dB up
    wave = loud * sum(np.sin(2 * np.pi * k * np.cumsum(hertz) / RATE) / k for k in (1, 2, 3)) * 0.2
    x, valid = feature("prosody", hop=hop, frames=120)(*batch(wave))
    count = round(float(valid[0]) * 120)
    inner = slice(8, count - 8)
    pitch, voicing, energy, pitch_change, _, energy_change = x[0, 0, :, :count].numpy()
    expected = np.arange(count) * hop / RATE
    np.testing.assert_allclose(pitch[inner] - pitch[count // 2], (expected - expected[count // 2])[inner], atol=0.02)
    assert voicing[inner].min() > 0.8
    np.testing.assert_allclose(
        energy[inner] - energy[count // 2], 20 * (expected - expected[count // 2])[inner], atol=0.5
    )
    np.testing.assert_allclose(pitch_change[inner], 0.04, atol=0.01)  # octaves in 40 ms
    np.testing.assert_allclose(energy_change[inner], 0.8, atol=0.2)  # dB in 40 ms


def test_energy_and_pitch_of_a_voice_are_librosas() -> None:
    wave = voice(1.5, 3)
    x, valid = feature("prosody", hop=160, frames=150)(*batch(wave))
    count = round(float(valid[0]) * 150)
    theirs = librosa.yin(wave, fmin=60, fmax=600, sr=RATE, frame_length=1024, hop_length=160)[:count]
    ours, voicing = x[0, 0, 0, :count].numpy(), x[0, 0, 1, :count].numpy()
    sure = voicing > 0.8
    assert sure.sum() > 20
    difference = ours[sure] - np.log2(theirs[sure])
    assert np.mean(np.abs(difference - np.median(difference)) < 0.05) > 0.9


def test_sound_without_pitch_has_none() -> None:
    x, _ = feature("prosody", frames=60)(*batch(hiss(0.8), np.zeros(8_000)))
    assert not x[1, 0, 0].any() and x.isfinite().all()
