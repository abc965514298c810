"""Every feature keeps the contract; log-mel and MFCC are librosa's, the picture is torch's resize in matplotlib's colours."""

from collections.abc import Sequence
from pathlib import Path

import librosa
import matplotlib
import numpy as np
import pytest
import torch
from conftest import NEEDED, hiss, tone
from torch import Tensor
from torch.nn import functional as F

from emotion_lightning.config import parts
from emotion_lightning.config.schema import Audio
from emotion_lightning.data import audio
from emotion_lightning.features import Feature, log_mel, mfcc, picture
from emotion_lightning.features.acoustics import Acoustics
from emotion_lightning.features.encoder import Encoder
from emotion_lightning.features.functionals import Functionals
from emotion_lightning.features.mfcc_row import MFCCRow

NAMES = parts.names("features")
RATE = 16_000


def voice(seconds: float, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """Like speech in what matters here: harmonics, noise, a pause, 70 dB and more between loud and soft."""
    time = np.arange(round(seconds * rate)) / rate
    wave = sum(np.sin(2 * np.pi * 130 * k * time + k) / k for k in range(1, 40))
    swell = 0.5 + 0.5 * np.cos(2 * np.pi * 2 * time)
    return (0.1 * wave * swell**4 + hiss(seconds, rate, 1e-4, seed)).astype(np.float32)


def batch(waves: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(wave) for wave in waves])
    return torch.nn.utils.rnn.pad_sequence([torch.from_numpy(w) for w in waves], batch_first=True), lengths


CLIPS = [
    voice(seconds, seed) for seed, seconds in enumerate((0.13, 1.0, 2.2001, 4.7))
]  # the last is longer than frames


CLICK = hiss(0.52, level=1e-3).astype(np.float32)[
    : 64 * 128 + 127
]  # the frame behind its end, were it counted, would be its loudest
CLICK[-1] = 1


@pytest.fixture(scope="module", params=NAMES)
def feature(request: pytest.FixtureRequest) -> Feature:
    return parts.entry("features", request.param)(RATE, **NEEDED.get(request.param, {}))


def test_a_clips_feature_is_the_same_alone_as_in_any_batch(feature: Feature) -> None:
    clips = [*CLIPS, CLICK]
    stored, valid = feature(*batch(clips))
    for row, clip in enumerate(clips):
        (alone,), (share,) = feature(*batch([clip]))
        assert share == valid[row]
        atol = 1 if stored.dtype == torch.uint8 else 0.01
        torch.testing.assert_close(stored[row].float(), alone.float(), atol=atol, rtol=1e-4)


def test_silence_after_a_clip_does_not_change_it(feature: Feature) -> None:
    waves, lengths = batch(CLIPS[:2])
    longer = F.pad(waves, (0, 5 * RATE))
    (before, share), (after, later) = feature(waves, lengths), feature(longer, lengths)
    torch.testing.assert_close(share, later)
    atol = 1 if before.dtype == torch.uint8 else 0.01
    torch.testing.assert_close(before.float(), after.float(), atol=atol, rtol=1e-4)


def test_every_clip_has_the_same_shape_and_a_share_of_the_width(feature: Feature) -> None:
    stored, valid = feature(*batch(CLIPS))
    assert stored.ndim == 4
    assert len(stored) == len(valid) == len(CLIPS)
    assert {feature(*batch([clip]))[0].shape[1:] for clip in CLIPS} == {stored.shape[1:]}
    assert ((valid > 0) & (valid <= 1)).all()
    assert valid.is_floating_point()
    assert valid[-1] == 1
    assert valid.tolist() == sorted(valid.tolist())


def test_what_is_shown_is_finite_and_float(feature: Feature) -> None:
    shown = feature.present(feature(*batch(CLIPS))[0])
    assert shown.ndim == 4
    assert shown.dtype == torch.float32
    assert shown.isfinite().all()
    assert shown.std() > 0
    if feature.is_picture:
        assert shown.shape[1] == 3
        assert 0 <= shown.min() <= shown.max() <= 1


def test_digital_silence_and_faint_clips_give_finite_features(feature: Feature) -> None:
    """A clip with zeros in it, and one at -90 dBFS, whose softest frames fall below the power's floor."""
    gap = CLIPS[1].copy()
    gap[4_000:9_000] = 0
    stored, _ = feature(*batch([gap, CLIPS[1] * np.float32(10 ** (-90 / 20)), np.zeros(RATE, np.float32)]))
    assert feature.present(stored).isfinite().all()


def test_a_louder_clip_has_the_same_feature(feature: Feature) -> None:
    """Every one is relative to the clip's own maximum, but those that keep the level, as published."""
    if isinstance(feature, MFCCRow | Encoder | Functionals | Acoustics):
        pytest.skip("its level is the clip's")
    (clip, louder), _ = feature(*batch([CLIPS[1], CLIPS[1] * np.float32(4)]))
    atol = 1 if clip.dtype == torch.uint8 else 0.01
    torch.testing.assert_close(clip.float(), louder.float(), atol=atol, rtol=1e-4)


def librosa_mel(wave: np.ndarray, rate: int = RATE, bands: int = 128, n_fft: int = 512, hop: int = 128) -> np.ndarray:
    """(bands, T) mel power."""
    return librosa.feature.melspectrogram(
        y=wave, sr=rate, n_fft=n_fft, hop_length=hop, n_mels=bands, htk=False, norm="slaney",
        center=True, pad_mode="constant", power=2.0,
    )  # fmt: skip


def librosa_db(wave: np.ndarray, **settings: int) -> np.ndarray:
    return librosa.power_to_db(librosa_mel(wave, **settings), ref=np.max, top_db=80)


def real_waves(folder: Path, count: int) -> list[np.ndarray]:
    """Spread over both corpora, at 16 kHz and trimmed."""
    paths = [*sorted(folder.glob("ravdess/*/*.flac")), *sorted(folder.glob("savee/ALL/*.flac"))]
    return [audio.load(path, Audio()) for path in paths[7 :: len(paths) // count][:count]]


@pytest.mark.parametrize("settings", [{}, {"bands": 64, "n_fft": 1024, "hop": 160}, {"rate": 22_050, "n_fft": 2048}])
def test_the_log_mel_is_librosas(settings: dict[str, int]) -> None:
    rate = settings.get("rate", RATE)
    for wave in (voice(1.3, rate=rate), tone(700, 0.5, rate).astype(np.float32), hiss(0.5, rate).astype(np.float32)):
        theirs = librosa_db(wave, **settings)
        args = {k: v for k, v in settings.items() if k != "rate"}
        (ours,), (valid,) = log_mel.build(rate, **args, frames=theirs.shape[1])(*batch([wave]))
        assert valid == 1
        np.testing.assert_allclose(ours[0].numpy(), theirs, atol=0.01)


@pytest.mark.real
def test_the_log_mel_is_librosas_on_real_clips(real_corpora: Path) -> None:
    for wave in real_waves(real_corpora, 10):
        theirs = librosa_db(wave)
        (ours,), _ = log_mel.build(RATE, frames=theirs.shape[1])(*batch([wave]))
        np.testing.assert_allclose(ours[0].numpy(), theirs, atol=0.01)


def test_a_longer_clip_is_cut_and_a_shorter_one_filled_with_the_floor() -> None:
    stored, valid = log_mel.build(RATE, frames=100)(*batch([CLIPS[0], CLIPS[1]]))
    short, long = librosa_db(CLIPS[0]), librosa_db(CLIPS[1])
    count = short.shape[1]
    np.testing.assert_allclose(stored[1, 0].numpy(), long[:, :100], atol=0.01)
    np.testing.assert_allclose(stored[0, 0, :, :count].numpy(), short, atol=0.01)
    assert (stored[0, 0, :, count:] == -80).all()
    assert valid.tolist() == pytest.approx([count / 100, 1])


@pytest.mark.parametrize("name", ["log_mel", "mfcc"])
def test_frames_behind_a_clips_end_hold_what_silence_has(name: str) -> None:
    """In every place where they can come from: the batch's longest clip, or the fixed length."""
    build = parts.entry("features", name)
    shape = {"n_fft": 512, "hop": 128, "range_db": 70.0}
    stored, valid = build(RATE, frames=300, **shape)(*batch([CLIPS[0], CLIPS[1]]))
    floor = np.full((128, 1), -70.0)
    silence = floor if name == "log_mel" else scipy_dct(floor)[:20]
    for row in (0, 1):
        behind = stored[row, 0, :, round(float(valid[row]) * 300) :].numpy()
        assert behind.shape[1] > 100
        np.testing.assert_allclose(behind, np.broadcast_to(silence, behind.shape), atol=1e-3)


def scipy_dct(levels: np.ndarray) -> np.ndarray:
    import scipy.fft

    return scipy.fft.dct(levels, axis=0, norm="ortho")


def test_without_log_the_mel_power_lies_on_the_same_scale() -> None:
    mel = librosa_mel(CLIPS[1])
    theirs = 80 * (mel / mel.max() - 1)
    (ours,), _ = log_mel.build(RATE, frames=mel.shape[1] + 5, log=False)(*batch([CLIPS[1]]))
    np.testing.assert_allclose(ours[0, :, :-5].numpy(), theirs, atol=1e-3)
    assert (ours[0, :, -5:] == -80).all()


def assert_librosas_mfcc(wave: np.ndarray) -> None:
    """librosa takes dB of the power itself, ours lie below the clip's loudest: a constant in every band, so it meets
    coefficient 0 alone, and there by the constant times the root of the number of bands."""
    theirs = librosa.feature.mfcc(y=wave, sr=RATE, n_mfcc=20)
    loudest = librosa_mel(wave, n_fft=2048, hop=512).max()
    theirs[0] -= 10 * np.log10(loudest) * np.sqrt(128)
    (ours,), _ = mfcc.build(RATE, frames=theirs.shape[1])(*batch([wave]))
    # 0.01 dB in every one of 128 bands, all in the same direction, is 0.11 here
    np.testing.assert_allclose(ours[0].numpy(), theirs, atol=0.05)


def test_the_mfcc_are_librosas() -> None:
    for wave in (*CLIPS, hiss(0.5).astype(np.float32)):
        assert_librosas_mfcc(wave)


@pytest.mark.real
def test_the_mfcc_are_librosas_on_real_clips(real_corpora: Path) -> None:
    for wave in real_waves(real_corpora, 10):
        assert_librosas_mfcc(wave)


def levels_of(decibel: np.ndarray, height: int, width: int, range_db: float = 80) -> np.ndarray:
    """0…255 of a spectrogram (bands, T) in -range_db…0, low bands first, resized by torch and turned over."""
    size = {"size": (height, width), "mode": "bilinear", "antialias": True, "align_corners": False}
    resized = F.interpolate(torch.from_numpy(decibel)[None, None].float(), **size)[0, 0].numpy()
    return (255 * (1 + resized[::-1] / range_db)).clip(0, 255).round()


def assert_same_levels(ours: Tensor, theirs: np.ndarray) -> None:
    """A level may round the other way, one in twenty at most (0.01 dB is 0.03 of a level)."""
    difference = np.abs(ours.numpy() - theirs)
    assert difference.max() <= 1
    assert difference.mean() < 0.05


@pytest.mark.parametrize(("height", "width"), [(256, 256), (96, 96), (64, 200)])
def test_the_picture_is_librosas_log_mel_resized_by_torch(height: int, width: int) -> None:
    stored, valid = picture.build(RATE, height=height, width=width)(*batch(CLIPS))
    assert stored.dtype == torch.uint8
    assert stored.shape == (4, 1, height, width)
    assert (valid == 1).all()
    for row, clip in enumerate(CLIPS):
        theirs = levels_of(librosa_db(clip), height, width)
        assert_same_levels(stored[row, 0], theirs)


@pytest.mark.real
def test_the_picture_is_librosas_log_mel_resized_by_torch_on_real_clips(real_corpora: Path) -> None:
    for wave in real_waves(real_corpora, 5):
        (stored,), _ = picture.build(RATE)(*batch([wave]))
        assert_same_levels(stored[0], levels_of(librosa_db(wave), 256, 256))


def test_without_log_the_picture_is_the_mel_power() -> None:
    (stored,), _ = picture.build(RATE, height=96, width=96, log=False)(*batch([CLIPS[1]]))
    mel = librosa_mel(CLIPS[1])
    theirs = levels_of(80 * (mel / mel.max() - 1), 96, 96)
    assert_same_levels(stored[0], theirs)
    assert theirs.mean() < 30 < levels_of(librosa_db(CLIPS[1]), 96, 96).mean()


def test_low_frequencies_are_at_the_bottom_of_the_picture() -> None:
    low, high = tone(200).astype(np.float32), tone(6_000).astype(np.float32)
    stored, _ = picture.build(RATE)(*batch([low, high]))
    rows = stored[:, 0].float().mean(-1).argmax(-1)  # the brightest row; 0 is the top one
    mels = librosa.hz_to_mel([200, 6_000]) / librosa.hz_to_mel(8_000)
    np.testing.assert_allclose(rows.numpy(), 256 * (1 - mels), atol=4)


def test_a_picture_runs_from_left_to_right() -> None:
    wave = np.concatenate([tone(400, 0.5), tone(3_000, 1.5)]).astype(np.float32)
    (stored,), _ = picture.build(RATE)(*batch([wave]))
    brightest = stored[0].float().argmax(0)
    assert (brightest[:60] > 200).all()  # a quarter of the clip is low
    assert (brightest[70:] < 120).all()


@pytest.mark.parametrize("colour", ["magma", "viridis"])
def test_the_colours_are_matplotlibs(colour: picture.Colour) -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    shown = picture.build(RATE, colour=colour).present(levels)
    theirs = matplotlib.colormaps[colour](levels[0, 0].numpy())[..., :3]
    np.testing.assert_allclose(shown[0].permute(1, 2, 0).numpy(), theirs, atol=1e-6)


def test_magma_runs_from_black_to_pale_yellow() -> None:
    """The ends of its published table, bids.github.io/colormap."""
    shown = picture.build(RATE).present(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))[0, :, 0]
    np.testing.assert_allclose(shown[:, 0], [0.001462, 0.000466, 0.013866], atol=1e-6)
    np.testing.assert_allclose(shown[:, 1], [0.987053, 0.991438, 0.749504], atol=1e-6)


def test_grey_is_three_equal_channels() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 1, 256)
    shown = picture.build(RATE, colour="grey").present(levels)
    np.testing.assert_allclose(shown[0, :, 0].numpy(), np.tile(np.arange(256) / 255, (3, 1)), atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_feature_is_the_same_on_the_gpu(feature: Feature) -> None:
    waves, lengths = batch(CLIPS)
    (here, share), (there, other) = feature(waves, lengths), feature.cuda()(waves.cuda(), lengths.cuda())
    feature.cpu()
    torch.testing.assert_close(share, other.cpu())
    atol = 1 if here.dtype == torch.uint8 else 0.05
    torch.testing.assert_close(here.float(), there.cpu().float(), atol=atol, rtol=1e-3)


def test_the_row_of_mfcc_is_librosas_of_that_stretch_with_zeros_behind() -> None:
    """Of a clip that is long enough, of one that ends within the stretch, and of one that ends before it."""
    rate, feature = 22_050, parts.entry("features", "mfcc_row")(22_050, zero_crossings=True)
    clips = [voice(seconds, seed, rate) for seed, seconds in enumerate((4.0, 1.9, 0.5))]
    stored, valid = feature(*batch(clips))
    assert stored.shape == (3, 1, 108 * 20 + 108, 1) and (valid == 1).all()
    for row, clip in zip(stored[:2, 0, :, 0], clips, strict=False):
        part = clip[round(0.6 * rate) :][: round(2.5 * rate)]
        theirs = librosa.feature.mfcc(y=part, sr=rate, n_mfcc=20, n_fft=2048, hop_length=512, pad_mode="constant").T
        ours = row[:2160].reshape(108, 20)
        np.testing.assert_allclose(ours[: len(theirs)], theirs, atol=0.05)
        assert not ours[len(theirs) :].any()
        rates = librosa.feature.zero_crossing_rate(part, frame_length=2048, hop_length=512)[0]
        np.testing.assert_allclose(row[2160 : 2160 + len(rates)][2:-3], rates[2:-3], atol=2e-3)
    assert not stored[2].any()
