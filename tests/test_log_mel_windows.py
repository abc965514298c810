"""Log-mel of several window lengths: each channel is librosa's with that window."""

import librosa
import numpy as np
import pytest
from test_features import CLIPS, RATE, batch

from emotion_lightning.errors import UserError
from emotion_lightning.features import log_mel_windows


def test_each_channel_is_librosas_log_mel_of_its_window() -> None:
    feature = log_mel_windows.build(RATE, windows_ms=(15, 32, 50))
    stored, valid = feature(*batch(CLIPS[:3]))
    shown = feature.present(stored)
    for clip, wave in enumerate(CLIPS[:3]):
        count = len(wave) // 160 + 1
        assert round(float(valid[clip]) * 300) == count
        for channel, samples in enumerate((240, 512, 800)):
            power = librosa.feature.melspectrogram(
                y=wave, sr=RATE, n_fft=1024, win_length=samples, hop_length=160, n_mels=64, htk=False, norm="slaney",
                center=True, pad_mode="constant", power=2.0,
            )  # fmt: skip
            expected = librosa.power_to_db(power, ref=np.max, top_db=80)[:, :300]
            difference = shown[clip, channel, :, :count].numpy() - expected
            assert np.abs(difference).max() < 80 / 255 / 2 + 0.02  # half a step of a byte
            assert (shown[clip, channel, :, count:] == -80).all()


def test_the_default_windows_are_those_of_the_paper() -> None:
    feature = log_mel_windows.build(RATE)
    stored, _ = feature(*batch(CLIPS[:1]))
    assert stored.shape == (1, 8, 64, 300)  # 15, 20, …, 50 ms
    lengths = [
        int((log_mel.window > 0).sum()) + 1 for log_mel in feature.log_mels
    ]  # a Hann window starts with a zero
    assert lengths == [240, 320, 400, 480, 560, 640, 720, 800]


def test_a_window_longer_than_the_transform_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"features.n_fft: 512 samples are too few for a window of 50 ms, 800 samples"
    ):
        log_mel_windows.build(RATE, n_fft=512)
