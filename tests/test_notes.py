"""Notes on clips that a model cannot learn from, cannot be tested on, or hears in part only."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from noise_corpora import experiment, make_ravdess, ready
from rich.console import Console

from emotion_lightning.config.parts import entry
from emotion_lightning.corpora import Clip
from emotion_lightning.data import notes
from emotion_lightning.protocols import Split
from emotion_lightning.training.build import build


def made(emotions: tuple[str, ...], audio: tuple[str, ...]) -> list[Clip]:
    return [
        Clip(str(i), Path(), "made", emotion, "one", content=content)
        for i, (emotion, content) in enumerate(zip(emotions, audio, strict=True))
    ]


FOUR = made(("happy", "sad", "angry", "sad"), ("a", "b", "c", "a"))
SPLIT = Split(np.array([0, 1]), np.array([], dtype=np.int64), np.array([2, 3]))


def test_classes_with_few_clips_or_none_are_noted() -> None:
    assert list(notes.on_classes(FOUR, SPLIT, ("happy", "sad", "angry"))) == [
        "happy: no test clip, so the test scores leave it out",
        "angry: no training clip, but 0 validation and 1 test clips; no model can learn it "
        '(SET="emotions.angry=off" leaves it out)',
        "fewer than 5 clips of an emotion in (training, test): sad (1, 1)",
    ]


def test_equal_audio_with_two_emotions_is_noted() -> None:
    assert list(notes.on_contradictions(FOUR)) == [
        "recordings that occur with two emotions: 1, such as happy and sad"
    ]


def test_clips_that_a_protocol_leaves_out_are_counted_by_corpus_and_emotion() -> None:
    split = Split(np.array([0]), np.array([1]), np.array([2]))
    assert list(notes.on_unused_clips(FOUR, split, "made")) == ["protocol made leaves out 1 of 4 clips: made sad 1"]
    all_used = Split(np.array([0]), np.array([1]), np.array([2, 3]))
    assert list(notes.on_unused_clips(FOUR, all_used, "made")) == []


def test_clips_outside_the_used_part_are_counted() -> None:
    assert list(notes.on_unused_seconds(np.array([0.5, 0.7, 4.0]), (0.6, 3.1))) == [
        "1 of 3 clips are longer than 3.1 s, and the feature uses nothing after that",
        "1 of 3 clips end before 0.6 s, where the part that the feature uses begins",
    ]
    assert list(notes.on_unused_seconds(np.array([0.5, 4.0]), (0.0, np.inf))) == []


@pytest.mark.parametrize("name", ["log_mel", "mfcc", "mfcc_row", "picture"])
def test_only_the_used_part_of_a_clip_changes_its_feature(name: str) -> None:
    """The window of a frame reaches over the end of the part, by half its length."""
    rate = 16_000
    feature = entry("features", name)(rate)
    end = feature.used[1]
    random = torch.Generator().manual_seed(0)
    wave = 0.01 * torch.randn(1, 12 * rate, generator=random)
    wave[0, 2 * rate : 2 * rate + 8192] *= 100  # the loudest frame is in every part

    def with_noise_from(first: float) -> torch.Tensor:
        changed = wave.clone()
        changed[0, round(first * rate) :] = (
            0.01 * torch.randn(1, 12 * rate, generator=random)[0, round(first * rate) :]
        )
        return feature(changed, torch.tensor([12 * rate]))[0].float()

    plain = feature(wave, torch.tensor([12 * rate]))[0].float()
    if np.isinf(end):
        assert not torch.equal(with_noise_from(11.0), plain)
    else:
        assert torch.allclose(with_noise_from(end + 0.3), plain, atol=0.5)
        assert not torch.allclose(with_noise_from(end - 0.3), plain, atol=0.5)


def test_data_notes_the_clips_that_are_longer_than_the_feature_uses(demo_data: Path) -> None:
    def noted(frames: int) -> list[str]:
        features = {"name": "mfcc", "frames": frames}
        corpora = {"demo": {"speakers": 4, "takes": 1}}
        return ready(experiment(demo_data, demo_data, corpora=corpora, features=features)).notes

    assert "128 of 128 clips are longer than 0.3 s, and the feature uses nothing after that" in noted(10)
    assert not any("longer than" in note for note in noted(1000))


def test_a_note_on_a_file_with_brackets_names_it_as_it_is(tmp_path: Path) -> None:
    make_ravdess(tmp_path)
    (tmp_path / "ravdess" / "Actor_01" / "03-01-01-01-01-01-01 [red].wav").touch()
    said = io.StringIO()
    build(experiment(tmp_path), Console(file=said, width=80))
    notes = [line for line in said.getvalue().splitlines() if line.startswith("note: ")]
    assert any("(such as 03-01-01-01-01-01-01 [red].wav)" in line for line in notes)
