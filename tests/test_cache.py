"""The cache is made once, and holds what the audio and the features say."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from cached import AUDIO, both, files, make_clips, never, silently
from conftest import NEEDED, hiss

from emotion_lightning import features
from emotion_lightning.config import parts
from emotion_lightning.config.schema import Args, Audio
from emotion_lightning.corpora import Clip
from emotion_lightning.data import audio, cache
from emotion_lightning.errors import UserError


@pytest.fixture
def clips(tmp_path: Path) -> list[Clip]:
    return make_clips(tmp_path / "clips")


def test_a_second_call_reads_the_cache_and_not_the_audio(clips: list[Clip], tmp_path: Path) -> None:
    first_waves, first = both(clips, tmp_path / "cache")
    before = files(tmp_path / "cache")
    waves, again = both(clips, tmp_path / "cache", never)
    assert files(tmp_path / "cache") == before
    torch.testing.assert_close(waves.batch(range(5)), first_waves.batch(range(5)), atol=0, rtol=0)
    torch.testing.assert_close(again.values, first.values, atol=0, rtol=0)
    assert not any(waves.faults)


def test_a_part_of_a_cached_corpus_is_a_corpus_of_its_own(clips: list[Clip], tmp_path: Path) -> None:
    whole, _ = both(clips, tmp_path / "cache")
    half, _ = both(clips[2:4], tmp_path / "cache")
    assert whole.key != half.key
    np.testing.assert_array_equal(half.digests, whole.digests[2:4])


def test_a_changed_file_makes_a_new_cache(clips: list[Clip], tmp_path: Path) -> None:
    old_waves, old = both(clips, tmp_path / "cache")
    soundfile.write(clips[3].path, hiss(0.5, seed=9), 16_000)
    waves, new = both(clips, tmp_path / "cache")
    assert (waves.key != old_waves.key, new.key != old.key) == (True, True)
    changed = [not torch.equal(a, b) for a, b in zip(new.values, old.values, strict=True)]
    assert changed == [False, False, False, True, False]


def test_a_copied_corpus_has_the_same_content(clips: list[Clip], tmp_path: Path) -> None:
    """So a run can be resumed after a corpus was copied or restored."""
    old_waves, old = both(clips, tmp_path / "cache")
    for clip in clips:
        os.utime(clip.path, ns=(0, clip.path.stat().st_mtime_ns + 1))
    waves, new = both(clips, tmp_path / "cache")
    assert new.key != old.key and (waves.content, new.content) == (old_waves.content, old.content)
    soundfile.write(clips[3].path, hiss(0.5, seed=9), 16_000)
    assert both(clips, tmp_path / "cache")[1].content != old.content
    assert both(clips, tmp_path / "cache", bands=64)[1].content != new.content


def test_a_file_changed_in_place_makes_a_new_cache(clips: list[Clip], tmp_path: Path) -> None:
    """Same name, same size: only the time of change tells."""
    old_waves, _ = both(clips, tmp_path / "cache")
    content = bytearray(clips[0].path.read_bytes())
    content[-3_000:] = bytes(3_000)
    clips[0].path.write_bytes(content)
    os.utime(clips[0].path, ns=(0, clips[0].path.stat().st_mtime_ns + 1))
    waves, _ = both(clips, tmp_path / "cache")
    assert waves.digests[0] != old_waves.digests[0]


def test_another_version_of_a_file_with_equal_name_size_and_date_makes_a_new_cache(
    clips: list[Clip], tmp_path: Path
) -> None:
    """As archives unpack that were made to be reproducible."""
    old_waves, _ = both(clips, tmp_path / "cache")
    times, content = clips[0].path.stat(), bytearray(clips[0].path.read_bytes())
    content[-3_000:] = bytes(3_000)
    clips[0].path.write_bytes(content)
    os.utime(clips[0].path, ns=(times.st_atime_ns, times.st_mtime_ns))
    waves, _ = both(clips, tmp_path / "cache")
    assert waves.digests[0] != old_waves.digests[0]


def test_a_moved_corpus_is_found_in_the_cache(clips: list[Clip], tmp_path: Path) -> None:
    both(clips, tmp_path / "cache")
    shutil.move(tmp_path / "clips", tmp_path / "elsewhere")
    both([replace(c, path=tmp_path / "elsewhere" / c.path.name) for c in clips], tmp_path / "cache", never)


@pytest.mark.parametrize(
    "change", [{"sample_rate": 8_000}, {"trim_db": 30.0}, {"trim_db": None}, {"min_seconds": 0.25}]
)
def test_a_changed_audio_setting_makes_a_new_cache(change: Args, clips: list[Clip], tmp_path: Path) -> None:
    (old_waves, old), (waves, new) = (both(clips, tmp_path, settings=s) for s in (AUDIO, Audio(**change)))
    assert waves.key != old_waves.key
    assert new.key != old.key
    assert waves.rate == change.get("sample_rate", 16_000)


@pytest.mark.parametrize("change", [{"bands": 64}, {"frames": 30}, {"range_db": 60.0}, {"log": False}])
def test_a_changed_feature_argument_makes_a_new_cache(change: Args, clips: list[Clip], tmp_path: Path) -> None:
    (old_waves, old), (waves, new) = both(clips, tmp_path), both(clips, tmp_path, **change)
    assert waves.key == old_waves.key
    assert new.key != old.key
    assert new.values.shape != old.values.shape or not torch.equal(new.values, old.values)


def test_features_of_other_names_are_stored_next_to_each_other(clips: list[Clip], tmp_path: Path) -> None:
    keys = {name: both(clips, tmp_path, name=name, **NEEDED.get(name, {}))[1].key for name in parts.names("features")}
    assert {f.name for f in tmp_path.iterdir() if f.is_dir()} >= {f"{name}-{key}" for name, key in keys.items()}
    for name in keys:
        both(clips, tmp_path, never, name=name, **NEEDED.get(name, {}))


LOUDNESS = """
import torch
from emotion_lightning.features import Feature


class Loudness(Feature):
    def forward(self, waves, lengths):
        return waves.square().sum(1).div(lengths)[:, None, None, None] * FACTOR, torch.ones(len(waves))


def build(sample_rate):
    return Loudness()
"""


def test_a_feature_whose_code_changed_is_computed_again(
    clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "parts" / "features" / "toy_loudness.py"
    source.parent.mkdir(parents=True)
    source.write_text(LOUDNESS.replace("FACTOR", "1"))
    monkeypatch.setenv(parts.ENVIRONMENT, str(tmp_path / "parts"))
    monkeypatch.setattr(features, "__path__", list(features.__path__))  # which the search for parts widens
    _, old = both(clips, tmp_path / "cache", name="toy_loudness")
    assert both(clips, tmp_path / "cache", never, name="toy_loudness")[1].key == old.key
    source.write_text(LOUDNESS.replace("FACTOR", "2"))
    assert both(clips, tmp_path / "cache", name="toy_loudness")[1].key != old.key


@pytest.mark.parametrize("name", parts.names("features"))
def test_cached_features_are_those_of_the_cached_waveforms(name: str, clips: list[Clip], tmp_path: Path) -> None:
    waves, cached = both(clips, tmp_path, name=name, **NEEDED.get(name, {}))
    stored, valid = parts.entry("features", name)(16_000, **NEEDED.get(name, {}))(*waves.batch(range(5)))
    assert cached.values.dtype == stored.dtype
    atol = 1 if stored.dtype == torch.uint8 else 0.01  # alone in the cache, in a batch here: sums round differently
    torch.testing.assert_close(cached.values.float(), stored.float(), atol=atol, rtol=1e-4)
    torch.testing.assert_close(cached.valid, valid)


@pytest.mark.parametrize("name", parts.names("features"))
def test_cached_features_are_those_of_the_files(name: str, clips: list[Clip], tmp_path: Path) -> None:
    """16 bits a sample lose nothing that can be seen: noise 90 dB below the peak, and pictures end at 80 dB."""
    if name == "functionals":
        pytest.skip("some of them, such as slopes of unvoiced parts, change without measure with the least noise")
    _, cached = both(clips, tmp_path, name=name, **NEEDED.get(name, {}))
    feature = parts.entry("features", name)(16_000, **NEEDED.get(name, {}))
    for row, c in enumerate(clips):
        wave = torch.from_numpy(audio.load(c.path, AUDIO))[None]
        (stored,), _ = feature(wave, torch.tensor([wave.shape[1]]))
        difference = (cached.values[row].float() - stored.float()).abs()
        assert difference.max() <= (1 if stored.dtype == torch.uint8 else 0.5)
        assert difference.mean() < 0.02


def test_storing_a_waveform_costs_less_than_90_db_below_its_peak(clips: list[Clip], tmp_path: Path) -> None:
    waves, _ = both(clips, tmp_path)
    stored, lengths = waves.batch(range(5))
    for row, c in enumerate(clips):
        wave = audio.load(c.path, AUDIO)
        assert lengths[row] == len(wave)
        error = stored[row, : len(wave)].numpy() - wave
        assert np.abs(error).max() < 10 ** (-90 / 20) * np.abs(wave).max()
        assert not stored[row, len(wave) :].any()


def test_a_clips_waveform_is_its_own_in_any_order(clips: list[Clip], tmp_path: Path) -> None:
    waves, _ = both(clips, tmp_path)
    stored, lengths = waves.batch(np.array([4, 0, 4]))
    for out, length, row in zip(stored, lengths, (4, 0, 4), strict=True):
        (alone,), (own,) = waves.batch([row])
        assert length == own
        assert torch.equal(out[:length], alone)


def test_faults_are_collected_clip_by_clip(clips: list[Clip], tmp_path: Path) -> None:
    good_waves, good = both(clips, tmp_path / "cache")
    clips[0].path.unlink()
    clips[2].path.write_text("not audio")
    soundfile.write(clips[4].path, np.zeros(8_000), 16_000)
    waves, found = both(clips, tmp_path / "cache")
    assert [fault.split()[0] if fault else "" for fault in waves.faults] == ["missing", "", "corrupt", "", "silent"]
    assert waves.lengths.tolist() == [0, good_waves.lengths[1], 0, good_waves.lengths[3], 0]
    assert waves.digests.tolist() == ["", good_waves.digests[1], "", good_waves.digests[3], ""]
    assert not found.values[[0, 2, 4]].any()
    assert found.valid[[0, 2, 4]].tolist() == [0, 0, 0]
    torch.testing.assert_close(found.values[[1, 3]], good.values[[1, 3]], atol=0, rtol=0)
    torch.testing.assert_close(waves.batch([1, 3]), good_waves.batch([1, 3]), atol=0, rtol=0)


def test_a_corpus_without_one_good_clip_is_all_faults(clips: list[Clip], tmp_path: Path) -> None:
    for c in clips:
        c.path.write_bytes(b"")
    for track in (silently, never):
        waves = cache.waves(clips, AUDIO, tmp_path / "cache", track)
        assert waves.faults.tolist() == ["empty file"] * 5
        assert not waves.lengths.any()


@pytest.mark.parametrize("name", ["index.npz", "features.npy", "valid.npy"])
def test_a_cache_that_would_have_to_be_unpickled_is_refused_in_one_line(
    name: str, clips: list[Clip], tmp_path: Path
) -> None:
    def build() -> cache.Features:
        stored = cache.waves(clips, AUDIO, tmp_path / "cache", silently)
        feature = parts.entry("features", "mfcc")(16_000)
        return cache.features(stored, feature, "mfcc", {}, tmp_path / "cache", silently)

    build()
    (file,) = (tmp_path / "cache").glob(f"*/{name}")
    (np.savez if name.endswith("z") else np.save)(file, np.array([Path("object")], object))
    with pytest.raises(UserError, match=f"'{file.parent}' is damaged .*; delete this folder") as refused:
        build()
    assert "\n" not in str(refused.value)
