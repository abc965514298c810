"""The feature `acoustics`: its statistics against librosa, numpy and sounds whose pitch and modulation are known."""

from typing import Any

import librosa
import numpy as np
import pytest
import scipy.fft
import torch
from conftest import hiss, tone
from scipy.signal import sawtooth

from emotion_lightning.features import acoustics

RATE = 16_000
MEL, MFCC, PAIRS, CHANGES = slice(0, 640), slice(640, 960), slice(960, 1236), slice(1236, 1512)
MODULATION, QUARTERS, PROSODY = slice(1512, 1792), slice(1792, 1984), slice(1984, 2012)


def compute(wave: Any, **settings: Any) -> np.ndarray:
    """(speeds, 2012) of one clip."""
    stored, valid = acoustics.build(RATE, **settings)(torch.tensor(wave).float()[None], torch.tensor([len(wave)]))
    assert valid.tolist() == [1.0] and stored.shape[2:] == (acoustics.VALUES, 1)
    return stored[0, :, :, 0].numpy()


def log_mel(wave: np.ndarray) -> np.ndarray:
    """(80, T) by librosa."""
    mel = librosa.feature.melspectrogram(
        y=wave, sr=RATE, n_fft=1024, hop_length=160, n_mels=80, fmin=40, fmax=8000, pad_mode="reflect"
    )
    return np.log(np.maximum(mel, 1e-8))


def eight(x: np.ndarray) -> np.ndarray:
    """The eight statistics over time, written down independently."""
    change = x[:, 2:] - x[:, :-2]
    quantiles = np.quantile(x, [0.1, 0.5, 0.9], axis=1)
    second = change[:, 2:] - change[:, :-2]
    return np.concatenate(
        [x.mean(1), x.std(1), *quantiles, change.std(1), np.abs(change).mean(1), second.std(1)]
    )  # fmt: skip


def test_mel_and_mfcc_statistics_are_those_of_librosa_and_scipy() -> None:
    wave = hiss(1.3) + tone(500, 1.3)
    mel, found = log_mel(wave), compute(wave)[0]
    mfcc = scipy.fft.dct(mel, axis=0, norm="ortho")[:40]
    np.testing.assert_allclose(found[MEL], eight(mel), atol=2e-3)
    np.testing.assert_allclose(found[MFCC], eight(mfcc), atol=2e-3)
    above = np.triu_indices(24, 1)
    np.testing.assert_allclose(found[PAIRS], np.corrcoef(mfcc[:24])[above], atol=2e-3)
    np.testing.assert_allclose(found[CHANGES], np.corrcoef(mfcc[:24, 2:] - mfcc[:24, :-2])[above], atol=2e-3)
    parts = np.array_split(mfcc[:24], 4, axis=1)
    means = [part.mean(1) - mfcc[:24].mean(1) for part in parts]
    np.testing.assert_allclose(found[QUARTERS], np.concatenate([*means, *(part.std(1) for part in parts)]), atol=2e-3)


@pytest.mark.parametrize("hertz", [90.0, 220.0, 450.0])
def test_the_pitch_of_a_sawtooth_is_found(hertz: float) -> None:
    found = compute(0.3 * sawtooth(2 * np.pi * hertz * np.arange(RATE) / RATE))[0, PROSODY]
    mean, deviation, slope, _, _, voicing = found[:6]
    assert mean == pytest.approx(np.log2(hertz), abs=0.02) and deviation < 0.05 and abs(slope) < 0.05
    assert voicing > 0.9


def test_noise_has_less_voicing_than_a_sawtooth_and_a_glide_has_a_slope() -> None:
    assert compute(hiss(1.0))[0, PROSODY][5] < 0.5
    glide = np.cumsum(200 * 2 ** np.linspace(-0.5, 0.5, RATE)) / RATE  # one octave up
    found = compute(0.3 * sawtooth(2 * np.pi * glide))[0, PROSODY]
    assert found[2] == pytest.approx(0.5, abs=0.05)  # octaves from the middle of the clip to its end


@pytest.mark.parametrize(("hertz", "place"), [(3.5, 4), (9.0, 8), (20.0, 11)])
def test_the_modulation_of_noise_is_in_its_range(hertz: float, place: int) -> None:
    envelope = 1 + 0.9 * np.sin(2 * np.pi * hertz * np.arange(3 * RATE) / RATE)
    found = compute(hiss(3.0) * envelope)[0, MODULATION].reshape(20, 14).mean(0)
    plain = compute(hiss(3.0))[0, MODULATION].reshape(20, 14).mean(0)
    assert int((found - plain).argmax()) == place
    assert acoustics.MODULATION[place] <= hertz < acoustics.MODULATION[place + 1]


def test_a_speed_raises_the_pitch_and_shortens_the_clip() -> None:
    wave = 0.3 * sawtooth(2 * np.pi * 200 * np.arange(RATE) / RATE)
    slow, fast = compute(wave, speeds=(1.0, 1.25))[:, PROSODY]
    assert fast[0] - slow[0] == pytest.approx(np.log2(1.25), abs=0.02)
    assert np.exp(slow[12] - fast[12]) == pytest.approx(1.25, abs=0.05)  # log of the number of frames


def test_a_clip_has_the_same_statistics_in_any_batch() -> None:
    clips = [hiss(0.7).astype(np.float32), tone(300, 1.1).astype(np.float32)]
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(clip) for clip in clips], batch_first=True)
    together, _ = acoustics.build(RATE)(padded, torch.tensor([len(clip) for clip in clips]))
    for row, clip in zip(together, clips, strict=True):
        np.testing.assert_array_equal(row[0, :, 0], compute(clip)[0])


@pytest.mark.parametrize("wave", [np.zeros(RATE), np.full(3, 0.1), np.zeros(1), hiss(12.0)])
def test_silent_short_and_long_clips_have_finite_values(wave: Any) -> None:
    assert np.isfinite(compute(wave, speeds=(1.0, 0.5, 2.0))).all()
