"""The normaliser has the mean and the deviation of the training split, and reads no other clip."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import soundfile
import torch
from conftest import hiss, tone
from noise_corpora import CPU, experiment, librosa_mel, make_ravdess, ready


@pytest.mark.parametrize("frames", [400, 150])
def test_the_normaliser_is_the_training_splits_mean_and_deviation_by_band(frames: int, corpora: Path) -> None:
    """Computed by hand with librosa from the training files. Frames behind a clip's end, at -80 dB, do not count; the
    longest clips have 213 frames, whose share of 400 is no exact binary number."""
    data = ready(experiment(corpora, features={"name": "log_mel", "bands": 32, "frames": frames}))
    waves = [soundfile.read(data.clips[i].path)[0] for i in data.split.train]
    expected = np.concatenate(
        [librosa_mel(wave - wave.mean())[:, :frames] for wave in waves], axis=1
    )  # (bands, frames)
    mean, std = data.statistics()
    assert mean.shape == std.shape == (1, 32, 1)
    assert mean.dtype == std.dtype == torch.float32
    np.testing.assert_allclose(mean[0, :, 0].numpy(), expected.mean(1), atol=0.01)
    np.testing.assert_allclose(std[0, :, 0].numpy(), expected.std(1), atol=0.01)


@pytest.mark.parametrize("frames", [100, 400, 500])
def test_no_frame_behind_a_clips_end_counts_for_any_length(frames: int, tmp_path: Path) -> None:
    """A share in float32 times the frames is above the count for 15, 27, 30, 54, 60 of 100, 200 or 400 and for 127 of
    500: rounded up, a frame at the floor would count."""
    for number, count in enumerate((15, 27, 30, 54, 60, 127)):
        place = tmp_path / "ravdess" / f"Actor_{number + 1:02}"
        place.mkdir(parents=True)
        for code in ("01", "05"):
            wave = hiss((count - 1) * 128 / 16_000 + 0.001, seed=10 * number + int(code))
            soundfile.write(place / f"03-01-{code}-01-01-01-{number + 1:02}.wav", wave, 16_000)
    protocol = {"name": "paper_random", "val_share": 0.1, "test_share": 0.1}
    features = {"name": "log_mel", "bands": 32, "frames": frames}
    data = ready(experiment(tmp_path, protocol=protocol, features=features))
    waves = [soundfile.read(data.clips[i].path)[0] for i in data.split.train]
    expected = np.concatenate([librosa_mel(wave - wave.mean())[:, :frames] for wave in waves], axis=1)
    mean, std = data.statistics()
    np.testing.assert_allclose(mean[0, :, 0].numpy(), expected.mean(1), atol=0.02)
    np.testing.assert_allclose(std[0, :, 0].numpy(), expected.std(1), atol=0.02)


def test_a_pictures_normaliser_is_by_channel(corpora: Path) -> None:
    data = ready(experiment(corpora, features={"name": "picture", "height": 32, "width": 32}))
    levels = data.gather(torch.from_numpy(data.split.train), CPU).stored.numpy()
    colours = matplotlib.colormaps["magma"](levels)[..., :3].reshape(-1, 3)
    mean, std = data.statistics()
    assert mean.shape == std.shape == (3, 1, 1)
    np.testing.assert_allclose(mean.flatten().numpy(), colours.mean(0), atol=1e-5)
    np.testing.assert_allclose(std.flatten().numpy(), colours.std(0), atol=1e-5)


@pytest.mark.parametrize(
    "features", [{"name": "log_mel"}, {"name": "mfcc"}, {"name": "picture", "height": 32, "width": 32}]
)
def test_no_clip_outside_the_training_split_is_read_for_the_normaliser(
    features: dict[str, Any], tmp_path: Path
) -> None:
    """Every clip of the validation and test splits becomes another one, of another spectrum."""
    make_ravdess(tmp_path)
    before = ready(experiment(tmp_path, features=features))
    for i in (*before.split.val, *before.split.test):
        soundfile.write(before.clips[i].path, tone(3_000, 1.0 + i / 100), 16_000)
    after = ready(experiment(tmp_path, features=features))
    assert after.split.train.tolist() == before.split.train.tolist()
    others = torch.from_numpy(after.split.test)
    assert not torch.equal(before.gather(others, CPU).stored, after.gather(others, CPU).stored)
    torch.testing.assert_close(before.statistics(), after.statistics(), atol=0, rtol=0)
    soundfile.write(before.clips[before.split.train[0]].path, tone(3_000), 16_000)
    assert not torch.equal(ready(experiment(tmp_path, features=features)).statistics()[0], before.statistics()[0])


def test_other_normalisers_read_no_clip(corpora: Path) -> None:
    features = {"name": "picture", "height": 32, "width": 32}
    mean, std = ready(experiment(corpora, features=features, data={"normalise": "none"})).statistics()
    assert (mean.unique().tolist(), std.unique().tolist()) == ([0], [1])
    mean, std = ready(experiment(corpora, features=features, data={"normalise": "imagenet"})).statistics()
    assert mean.shape == std.shape == (3, 1, 1)
    assert (mean.flatten().tolist(), std.flatten().tolist()) == (
        pytest.approx([0.485, 0.456, 0.406]),  # torchvision's, by channel red, green, blue
        pytest.approx([0.229, 0.224, 0.225]),
    )
