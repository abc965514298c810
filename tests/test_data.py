"""EmotionData: splits, labels, batches, statistics and bad clips, against files, librosa and numpy."""

import re
import shutil
from collections import Counter
from itertools import chain
from pathlib import Path
from typing import Any

import librosa
import matplotlib
import numpy as np
import pytest
import soundfile
import torch
from conftest import DEMO, NEEDED, hiss, tone

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.config.schema import Audio, Experiment
from emotion_lightning.corpora import EMOTIONS, open_corpus
from emotion_lightning.data import audio, cache
from emotion_lightning.data.datamodule import IMAGENET, EmotionData
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import SPLITS

CPU = torch.device("cpu")
RAVDESS_CODES = dict(zip(("01", "02", "03", "04", "05", "06", "07", "08"), EMOTIONS[:8], strict=True))
SAVEE_CODES = {"n": "neutral", "h": "happy", "sa": "sad", "a": "angry", "f": "fearful", "d": "disgust"}
SAVEE_CODES |= {"su": "surprised"}


def experiment(folder: Path, cache_folder: Path | None = None, **changes: Any) -> Experiment:
    tree = {
        "name": "toy",
        "corpora": {"ravdess": {}},
        "protocol": {"name": "speaker_folds"},
        "features": {"name": "log_mel", "bands": 32},
        "model": {"name": "small_cnn"},
        "data": {"dir": str(folder), "cache": str(cache_folder or folder / "cache"), "batch_size": 8},
    }
    tree["data"] |= changes.pop("data", {})
    return settings.check(tree | changes)


def ready(experiment: Experiment) -> EmotionData:
    data = EmotionData(experiment)
    data.setup()
    return data


def make_ravdess(folder: Path, actors: int = 6, seed: int = 0) -> None:
    """One clip for each actor and emotion; an actor's clips get longer with the emotion, 1.7 s the longest."""
    for actor in range(1, actors + 1):
        place = folder / "ravdess" / f"Actor_{actor:02}"
        place.mkdir(parents=True)
        for number, code in enumerate(RAVDESS_CODES):
            seconds = (27_141 - 3_000 * (7 - number)) / 16_000
            wave = hiss(seconds, seed=seed + 100 * actor + number) + tone(
                200 * (number + 1), seconds, level=0.01 * actor
            )
            soundfile.write(place / f"03-01-{code}-01-01-01-{actor:02}.wav", wave, 16_000)


def make_savee(folder: Path) -> None:
    (folder / "savee" / "ALL").mkdir(parents=True)
    for number, speaker in enumerate(("DC", "JE", "JK", "KL")):
        for other, code in enumerate(SAVEE_CODES):
            wave = hiss(0.3 + 0.05 * other, 44_100, seed=1_000 + 10 * number + other)
            soundfile.write(folder / "savee" / "ALL" / f"{speaker}_{code}01.wav", wave, 44_100)


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with 48 clips in RAVDESS's names and 28 in SAVEE's, and the cache; to be left as it is."""
    folder = tmp_path_factory.mktemp("data")
    make_ravdess(folder)
    make_savee(folder)
    return folder


TWO = {
    "corpora": {"ravdess": {}, "savee": {}},
    "protocol": {"name": "paper_random", "val_share": 0.2, "test_share": 0.2},
}


def emotion_of(path: Path) -> str:
    """From the file's name alone."""
    if match := re.fullmatch(r"03-01-(\d\d)-.*", path.stem):
        return RAVDESS_CODES[match[1]]
    return SAVEE_CODES[re.fullmatch(r"[A-Z]{2}_([a-z]+)\d\d", path.stem)[1]]


def test_the_demo_corpus_is_split_as_its_protocol_says(demo_data: Path) -> None:
    data = ready(experiment(demo_data, demo_data, corpora={"demo": DEMO}))
    assert len(data.clips) == 128
    splits = [set(data.split.indices(split_name).tolist()) for split_name in SPLITS]
    assert all(splits)
    assert set.union(*splits) == set(range(128))
    assert sum(map(len, splits)) == 128
    speakers = [{data.clips[i].speaker for i in split_name} for split_name in splits]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 8


def test_the_five_folds_test_every_clip_once(demo_data: Path) -> None:
    tested = Counter[str]()
    for fold in range(5):
        protocol = {"name": "speaker_folds", "fold": fold}
        data = ready(experiment(demo_data, demo_data, corpora={"demo": DEMO}, protocol=protocol))
        tested.update(data.clips[i].id for i in data.split.test)
    assert len(tested) == 128
    assert set(tested.values()) == {1}


def test_the_protocols_own_settings_reach_it(corpora: Path) -> None:
    protocol = {"name": "paper_random", "val_share": 0.25, "test_share": 0.5}
    data = ready(experiment(corpora, protocol=protocol))
    assert [len(data.split.indices(split_name)) for split_name in SPLITS] == [12, 12, 24]
    protocol = {"name": "paper_random", "val_share": 0.25, "test_share": 0.5, "split_seed": 1}
    assert ready(experiment(corpora, protocol=protocol)).split.test.tolist() != data.split.test.tolist()


def test_a_duplicate_recording_is_in_one_split(tmp_path: Path) -> None:
    make_ravdess(tmp_path, actors=3)
    twins = [tmp_path / "ravdess" / "Actor_01" / f"03-01-05-01-01-0{take}-01.wav" for take in (1, 2)]
    shutil.copy(*twins)
    for seed in range(8):
        protocol = {"name": "paper_random", "val_share": 0.3, "test_share": 0.3, "split_seed": seed}
        data = ready(experiment(tmp_path, protocol=protocol))
        rows = {i for i, clip in enumerate(data.clips) if clip.path in twins}
        assert len(rows) == 2
        assert sum(rows <= set(data.split.indices(split_name).tolist()) for split_name in SPLITS) == 1


def test_labels_are_the_files_own_in_the_vocabularys_order(corpora: Path) -> None:
    data = ready(experiment(corpora, **TWO))
    assert data.classes == EMOTIONS[:8]
    assert [data.classes[label] for label in data.labels] == [emotion_of(clip.path) for clip in data.clips]


def test_an_emotion_that_no_clip_has_is_no_class(corpora: Path) -> None:
    protocol = {"name": "speaker_folds", "folds": 3}
    data = ready(experiment(corpora, corpora={"savee": {}}, protocol=protocol))
    assert data.classes == ("neutral", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    assert [data.classes[label] for label in data.labels] == [emotion_of(clip.path) for clip in data.clips]


def test_a_batch_holds_its_clips_features_from_whichever_corpus(corpora: Path) -> None:
    """Against each corpus's own cache, row by row."""
    data = ready(experiment(corpora, **TWO))
    rows, where = {}, experiment(corpora, **TWO)
    for name in ("ravdess", "savee"):
        corpus = open_corpus(name, {}, corpora, corpora / "cache")
        waves = cache.waves(corpus.clips, where.audio, corpora / "cache", lambda items, what, count: items)
        args = where.features.args
        found = cache.features(
            waves, data.feature, "log_mel", args, corpora / "cache", lambda items, what, count: items
        )
        rows |= {clip.path: (found.values[i], found.valid[i]) for i, clip in enumerate(corpus.clips)}
    assert len(rows) == len(data.clips) == 76
    index = torch.from_numpy(np.random.default_rng(0).permutation(76))
    for part in (index, index[:5], torch.tensor([3, 3]), torch.tensor([75])):
        batch = data.gather(part, CPU)
        assert torch.equal(batch.indices, part)
        for i, label, stored, extent in zip(part.tolist(), batch.labels, batch.stored, batch.valid, strict=True):
            values, valid = rows[data.clips[i].path]
            assert torch.equal(stored, values)
            assert extent == valid
            assert data.classes[label] == emotion_of(data.clips[i].path)


def test_a_clips_feature_is_computed_from_its_own_file(corpora: Path) -> None:
    """librosa on the file as soundfile reads it, without our decoding: white noise leaves nothing to trim."""
    data = ready(experiment(corpora))
    for i in (0, 21, 47):
        wave, _ = soundfile.read(data.clips[i].path)
        mel = librosa_mel(wave - wave.mean())
        stored = data.gather(torch.tensor([i]), CPU).stored[0, 0, :, : mel.shape[1]]
        np.testing.assert_allclose(stored.numpy(), mel, atol=0.05)


def librosa_mel(wave: np.ndarray) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=wave, sr=16_000, n_fft=512, hop_length=128, n_mels=32, pad_mode="constant"
    )
    return librosa.power_to_db(power, ref=np.max, top_db=80)


def test_waveforms_are_padded_with_zeros_and_give_the_cached_features(corpora: Path) -> None:
    data = ready(experiment(corpora, **TWO))
    index = torch.tensor([0, 60, 7, 75, 7])
    batch, cached = data.gather_waveforms(index, CPU), data.gather(index, CPU)
    assert batch.waveforms.shape == (5, int(batch.lengths.max()))
    for i, wave, length in zip(index.tolist(), batch.waveforms, batch.lengths.tolist(), strict=True):
        expected = audio.load(data.clips[i].path, Audio())
        assert length == len(expected)
        np.testing.assert_allclose(wave[:length].numpy(), expected, atol=1e-4 * np.abs(expected).max())
        assert not wave[length:].any()
    stored, valid = data.feature(batch.waveforms, batch.lengths)
    torch.testing.assert_close(stored, cached.stored, atol=0.01, rtol=1e-4)
    torch.testing.assert_close(valid, cached.valid)
    assert torch.equal(batch.labels, cached.labels)


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
    assert len(IMAGENET) == 2


@pytest.fixture
def spoilt(tmp_path: Path) -> tuple[Path, dict[Path, str]]:
    """Two corpora with three bad clips, and a word of what is wrong with each."""
    make_ravdess(tmp_path)
    make_savee(tmp_path)
    empty = tmp_path / "ravdess" / "Actor_02" / "03-01-03-01-01-01-02.wav"
    text = tmp_path / "ravdess" / "Actor_05" / "03-01-08-01-01-01-05.wav"
    silent = tmp_path / "savee" / "ALL" / "JK_sa01.wav"
    empty.write_bytes(b"")
    text.write_text("not audio\n" * 30)
    soundfile.write(silent, np.zeros(44_100), 44_100)
    return tmp_path, {empty: "empty", text: "corrupt", silent: "silent"}


def test_bad_clips_stop_with_all_of_them_one_a_line(spoilt: tuple[Path, dict[Path, str]]) -> None:
    folder, bad = spoilt
    with pytest.raises(UserError) as error:
        ready(experiment(folder, **TWO))
    first, *lines = str(error.value).splitlines()
    assert first.startswith("3 bad clips")
    assert "data.on_bad_clip=skip" in first
    assert len(lines) == 3
    for path, word in bad.items():
        assert sum(str(path) in line.partition(": ")[0] and word in line for line in lines) == 1


def test_bad_clips_are_left_out_and_listed_where_they_may_be_skipped(spoilt: tuple[Path, dict[Path, str]]) -> None:
    folder, bad = spoilt
    data = ready(experiment(folder, **TWO, data={"on_bad_clip": "skip"}))
    assert len(data.clips) == 76 - 3
    assert not {clip.path for clip in data.clips} & set(bad)
    assert [line.partition(": ")[0] for line in data.bad_clips] == [str(path) for path in bad]
    assert sum(len(data.split.indices(split_name)) for split_name in SPLITS) == 73
    assert [data.classes[label] for label in data.labels] == [emotion_of(clip.path) for clip in data.clips]
    for i in range(73):  # no clip took the place of a bad one
        wave = audio.load(data.clips[i].path, Audio())
        stored, valid = data.feature(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
        batch = data.gather(torch.tensor([i]), CPU)
        assert (stored - batch.stored).abs().mean() < 0.02
        torch.testing.assert_close(batch.valid, valid)
        assert data.gather_waveforms(torch.tensor([i]), CPU).lengths.tolist() == [len(wave)]


@pytest.mark.parametrize("on_bad_clip", ["stop", "skip"])
def test_a_corpus_of_bad_clips_alone_is_reported(on_bad_clip: str, tmp_path: Path) -> None:
    make_ravdess(tmp_path, actors=3)
    for path in tmp_path.rglob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(UserError) as error:
        ready(experiment(tmp_path, data={"on_bad_clip": on_bad_clip}))
    first, *lines = str(error.value).splitlines()
    assert "24 bad clips" in first
    assert len(lines) == 21 and lines[-1] == "and 4 more"


def test_the_advice_to_skip_is_not_given_twice(tmp_path: Path) -> None:
    make_ravdess(tmp_path, actors=3)
    for path in tmp_path.rglob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(UserError) as error:
        ready(experiment(tmp_path, data={"on_bad_clip": "skip"}))
    assert "on_bad_clip=skip" not in str(error.value)


def test_one_corpus_of_bad_clips_alone_leaves_the_other(tmp_path: Path) -> None:
    make_ravdess(tmp_path)
    make_savee(tmp_path)
    for path in (tmp_path / "ravdess").rglob("*.wav"):
        path.write_bytes(b"")
    data = ready(experiment(tmp_path, **TWO, data={"on_bad_clip": "skip"}))
    assert {clip.corpus for clip in data.clips} == {"savee"}
    assert len(data.bad_clips) == 48
    wave = audio.load(data.clips[5].path, Audio())
    assert data.gather_waveforms(torch.tensor([5]), CPU).lengths.tolist() == [len(wave)]


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    make_ravdess(tmp_path, actors=1)
    with pytest.raises(UserError, match="no clip for the val split"):
        ready(experiment(tmp_path, protocol={"name": "paper_random", "val_share": 0.0, "test_share": 0.2}))


def test_a_corpus_with_fewer_clips_of_an_emotion_than_folds_is_split_or_refused(corpora: Path) -> None:
    """scikit-learn refuses where every emotion has fewer clips than there are folds, here 4 or 5 for 6."""
    try:
        data = ready(experiment(corpora, corpora=TWO["corpora"]))
    except UserError:
        return
    assert all(len(data.split.indices(split_name)) for split_name in SPLITS)


def test_setting_up_twice_changes_nothing(corpora: Path) -> None:
    data = ready(experiment(corpora))
    clips, split = data.clips, data.split
    data.setup("fit")
    assert data.clips is clips
    assert data.split is split


def test_the_digest_names_the_clips_of_a_split_and_their_features(corpora: Path) -> None:
    def digest(*splits: str, **changes: Any) -> str:
        return ready(experiment(corpora, **changes)).digest(*(splits or SPLITS))

    same = [digest(), digest(), digest(seed=5), digest(data={"batch_size": 16})]
    other = [
        digest(protocol={"name": "speaker_folds", "fold": 1}),
        digest(features={"name": "log_mel", "bands": 40}),
        digest(audio={"sample_rate": 8_000}),
        digest(**TWO),
        digest("test"),
        digest("val"),
    ]
    assert len(set(same)) == 1
    assert len({same[0], *other}) == 7
    shares = {"name": "paper_random", "test_share": 0.25}  # the same test split, whatever the others
    tests = [digest("test", protocol=shares | {"val_share": share}) for share in (0.1, 0.25)]
    assert tests[0] == tests[1]


def test_the_training_loader_takes_another_order_each_epoch(corpora: Path) -> None:
    data = ready(experiment(corpora))
    loader = data.train_dataloader()
    epochs = []
    for epoch in (0, 1, 0):
        loader.sampler.set_epoch(epoch)  # as Lightning does
        epochs.append(torch.cat(list(loader)).tolist())
    assert epochs[0] == epochs[2] != epochs[1]
    assert set(epochs[0]) <= set(data.split.train.tolist())


def test_the_validation_loaders_read_each_clip_once_in_order(corpora: Path) -> None:
    data = ready(experiment(corpora, fit={"gap_clips": 10}))
    validation, gap = ([rows.tolist() for rows in loader] for loader in data.val_dataloader())
    assert list(chain(*validation)) == data.split.val.tolist()
    assert list(chain(*gap)) == data.gap_clips().tolist()
    assert [len(rows) for rows in gap] == [8, 2]


def test_the_gap_is_measured_on_fixed_training_clips(corpora: Path) -> None:
    data = ready(experiment(corpora, fit={"gap_clips": 10}))
    chosen = data.gap_clips()
    assert len(set(chosen.tolist())) == 10
    assert set(chosen.tolist()) <= set(data.split.train.tolist())
    assert chosen.tolist() == data.gap_clips().tolist()
    assert chosen.tolist() == ready(experiment(corpora, fit={"gap_clips": 10})).gap_clips().tolist()
    assert chosen.tolist() != data.split.train[:10].tolist()  # not one speaker's
    everything = ready(experiment(corpora, fit={"gap_clips": 10_000})).gap_clips()
    assert everything.tolist() == data.split.train.tolist()


def test_every_feature_goes_through(demo_data: Path) -> None:
    for name in parts.names("features"):
        features = {"name": name, **NEEDED.get(name, {})}
        data = ready(experiment(demo_data, demo_data, corpora={"demo": DEMO}, features=features))
        mean, std = data.statistics()
        batch = data.gather(torch.from_numpy(data.split.train), CPU)
        shown = (data.feature.present(batch.stored) - mean) / std
        assert shown.isfinite().all()
        if batch.valid.min() == 1:  # no padding: then the normalised training split has mean 0 and deviation 1
            shown = shown[(std != 1).expand_as(shown)]  # values that never vary are left as they are
            assert shown.mean().item() == pytest.approx(0, abs=1e-3)
            assert shown.std().item() == pytest.approx(1, abs=0.02)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_batches_on_the_gpu_are_those_of_the_memory_map(corpora: Path) -> None:
    data = ready(experiment(corpora, **TWO))
    index = torch.from_numpy(np.random.default_rng(0).permutation(76)[:20])
    here, there = data.gather(index, CPU), data.gather(index, torch.device("cuda"))
    assert there.stored.is_cuda
    for a, b in zip(here, there, strict=True):
        assert torch.equal(a, b.cpu())
