"""Clips that cannot be used stop a run, or are left out of it."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from noise_corpora import CPU, TWO, emotion_of, experiment, make_ravdess, make_savee, ready

from emotion_lightning.config.schema import Audio
from emotion_lightning.data import audio
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import SPLITS


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
