"""Augmentations that make rows before training: what they make, where it is kept, and in which split it is."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DEMO, tone

from emotion_lightning.augment import OfflineAugmentation
from emotion_lightning.augment.copies import shift_pitch
from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.config.schema import Experiment
from emotion_lightning.data import offline_augmentation as rows
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import SPLITS

RATE = 16_000
MAKERS = [name for name in parts.names("augment") if parts.entry("augment", name)().stage == "rows"]


def experiment(cache: Path, protocol: dict, **augment: dict) -> Experiment:
    return settings.check(
        {
            "name": "rows",
            "corpora": {"demo": DEMO},
            "protocol": protocol,
            "features": {"name": "mfcc", "frames": 32},
            "augment": augment,
            "model": {"name": "svm"},
            "data": {"cache": str(cache)},
        }
    )


def data(cache: Path, protocol: dict, **augment: dict) -> EmotionData:
    made = EmotionData(experiment(cache, protocol, **augment))
    made.setup()
    return made


def further(name: str, wave: np.ndarray, seed: int = 0, **args: float) -> dict[str, np.ndarray]:
    maker: OfflineAugmentation = parts.entry("augment", name)(**args)
    return dict(maker.variants(wave.astype(np.float32), RATE, np.random.default_rng(seed)))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("seconds", [0.11, 0.5, 2.7])
def test_rows_are_finite_waveforms_and_their_kinds_differ(name: str, seconds: float) -> None:
    wave = tone(220, seconds)
    before = wave.astype(np.float32)
    made = list(parts.entry("augment", name)().variants(before, RATE, np.random.default_rng(0)))
    assert len({kind for kind, _ in made}) == len(made) and all(kind for kind, _ in made)
    for _, row in made:
        assert row.dtype == np.float32 and row.ndim == 1 and np.isfinite(row).all() and len(row) > 0.1 * RATE
    assert np.array_equal(before, wave.astype(np.float32))


def test_copies_are_the_papers_four_rows() -> None:
    wave = tone(220, 1.0)
    made = further("copies", wave)
    assert list(made) == ["noise", "pitch", "noise+pitch"]
    assert {len(row) for row in made.values()} == {len(wave)}
    noise = made["noise"] - wave
    assert 0 < noise.std() <= 0.035 * np.abs(wave).max() * 1.05
    assert not np.array_equal(further("copies", wave, seed=1)["noise"], made["noise"])
    assert np.array_equal(further("copies", wave)["noise+pitch"], made["noise+pitch"])


def test_copies_made_again_are_as_many_rows_a_clip_as_the_paper_had() -> None:
    wave = tone(220, 0.3)
    made = further("copies", wave, times=64)
    assert 1 + len(made) == 256 and list(made)[:3] == list(further("copies", wave))
    assert np.array_equal(made["recorded 64"], wave.astype(np.float32))
    assert np.array_equal(made["pitch 64"], made["pitch"])
    assert len({row.tobytes() for kind, row in made.items() if kind.startswith("noise")}) == 2 * 64


@pytest.mark.parametrize("semitones", [0.7, 2.0, -2.0, 12.0])
def test_pitch_is_shifted_by_so_many_semitones_and_the_length_stays(semitones: float) -> None:
    wave = tone(220, 2.0).astype(np.float32)
    moved = shift_pitch(wave, RATE, semitones)
    assert len(moved) == len(wave)
    hertz = np.fft.rfftfreq(len(wave), 1 / RATE)[np.abs(np.fft.rfft(moved)).argmax()]
    assert 12 * np.log2(hertz / 220) == pytest.approx(semitones, abs=0.05)


def test_slices_are_windows_of_the_clip() -> None:
    wave = np.arange(2 * RATE, dtype=np.float32)
    made = further("slices", wave, seconds=1.0, hop=0.5)
    assert [row[0] / RATE for row in made.values()] == [0, 0.5, 1.0]
    assert {len(row) for row in made.values()} == {RATE}
    assert further("slices", wave[: RATE // 2], seconds=1.0) == {}


def test_a_pause_makes_no_row(tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    """Slices of digital silence would be nothing but noise blown up to full scale."""
    lines = ["path,emotion,speaker"]
    for number in range(12):
        wave = np.concatenate([tone(200 + 10 * number, 1.0), np.zeros(2 * RATE), tone(300, 1.0)])
        lines.append(f"{write_wav(f'{number}.wav', wave)},{('happy', 'sad')[number % 2]},s{number}")
    (tmp_path / "clips.csv").write_text("\n".join(lines))
    tree = experiment(tmp_path / "cache", {"name": "random"}, slices={"seconds": 0.5, "hop": 0.5}).model_dump(
        mode="json"
    )
    made = EmotionData(settings.check(tree | {"corpora": {"table": {"path": str(tmp_path / "clips.csv")}}}))
    made.setup()
    slices = Counter(clip.variant for clip in made.clips)
    assert slices[""] == 12 and slices["slice000"] == slices["slice007"] == 12
    assert not slices["slice003"] and not slices["slice004"]


@pytest.mark.parametrize("override", ["seconds=0", "seconds=-1", "hop=0"])
def test_slices_that_cannot_be_are_refused(override: str) -> None:
    with pytest.raises(UserError, match=r"augment\.slices\."):
        settings.load("svm", ["augment.slices=", f"augment.slices.{override}"])


def test_rows_of_a_training_clip_train_and_others_are_in_no_split(demo_data: Path) -> None:
    made = data(demo_data, {"name": "speaker_folds", "folds": 3}, copies={})
    plain = data(demo_data, {"name": "speaker_folds", "folds": 3})
    kinds = {
        split_name: Counter(made.clips[i].variant for i in made.split.indices(split_name)) for split_name in SPLITS
    }
    assert kinds["val"] == {"": len(plain.split.val)} and kinds["test"] == {"": len(plain.split.test)}
    assert kinds["train"] == dict.fromkeys(["", "noise", "pitch", "noise+pitch"], len(plain.split.train))
    for split_name in SPLITS:  # the very clips that stand there without rows
        recorded = {made.clips[i].id for i in made.split.indices(split_name) if not made.clips[i].variant}
        assert recorded == {plain.clips[i].id for i in plain.split.indices(split_name)}


def test_a_rows_features_are_those_of_its_waveform_and_the_first_row_is_the_clip(demo_data: Path) -> None:
    made = data(demo_data, {"name": "random"}, copies={"semitones": 2.0})
    plain = data(demo_data, {"name": "random"})
    cpu = torch.device("cpu")
    recorded = torch.tensor([i for i, clip in enumerate(made.clips) if not clip.variant])
    every = plain.gather(torch.arange(len(plain.clips)), cpu)
    assert torch.equal(made.gather(recorded, cpu).stored, every.stored)
    assert torch.equal(made.labels[recorded], plain.labels)
    for row in (1, 2, 3, len(made.clips) - 1):
        wave = torch.from_numpy(made.waveform(row))
        alone, _ = made.feature(wave[None], torch.tensor([len(wave)]))
        torch.testing.assert_close(made.gather(torch.tensor([row]), cpu).stored, alone, atol=0.01, rtol=1e-4)


def test_rows_are_made_once_and_depend_on_no_other_clip(demo_data: Path, tmp_path: Path) -> None:
    first = data(demo_data, {"name": "random"}, copies={})
    places = sorted(demo_data.glob("rows-*"))
    data(demo_data, {"name": "speaker_folds"}, copies={})
    assert sorted(demo_data.glob("rows-*")) == places
    source = first._store._waves[0]
    (alone,) = rows.offline_augmentations({"copies": {}}).values()
    chance = np.random.default_rng(int(source.digests[4], 16))
    again = dict(alone.variants(first.waveform(4), RATE, chance))
    assert first.clips[5].variant == "noise"
    assert np.abs(again["noise"] - first.waveform(5)).max() < 1e-3 * np.abs(again["noise"]).max()


def test_leaky_rows_puts_rows_of_one_clip_in_two_splits_only_if_set(demo_data: Path) -> None:
    with pytest.raises(UserError, match=r"protocol\.i_know_this_leaks") as refused:
        data(demo_data, {"name": "leaky_rows"}, copies={})
    assert "\n" not in str(refused.value)
    allowed = {"name": "leaky_rows", "i_know_this_leaks": True}
    made = data(demo_data, allowed, copies={})
    assert sum(len(made.split.indices(split_name)) for split_name in SPLITS) == 4 * 128 == len(made.clips)
    train, test = ({made.clips[i].id.split("#")[0] for i in made.split.indices(s)} for s in ("train", "test"))
    assert len(test & train) > 0.9 * len(test)
    assert (
        experiment(demo_data, allowed).is_leaky and experiment(demo_data, allowed).title_prefix == "DEMO · LEAKY · "
    )
    assert experiment(demo_data, {"name": "random"}).title_prefix == "DEMO · "


def test_labels_can_be_merged_and_left_out(demo_data: Path) -> None:
    tree = experiment(demo_data, {"name": "random"}).model_dump(mode="json")
    made = EmotionData(settings.check({**tree, "emotions": {"calm": "neutral", "disgust": False}}))
    made.setup()
    plain = data(demo_data, {"name": "random"})
    ours, theirs = (Counter(clip.emotion for clip in d.clips) for d in (made, plain))
    assert ours["neutral"] == theirs["neutral"] + theirs["calm"] and theirs["calm"] and theirs["disgust"]
    assert "calm" not in made.classes and "disgust" not in made.classes
    with pytest.raises(UserError, match="emotions: no emotion 'clam'; did you mean 'calm'"):
        EmotionData(settings.check({**tree, "emotions": {"clam": "neutral"}})).setup()


def test_a_scikit_learn_model_takes_rows_and_no_other_augmentation(demo_data: Path) -> None:
    from rich.console import Console

    from emotion_lightning.train import build

    build(experiment(demo_data, {"name": "random"}, copies={}), Console(quiet=True))
    with pytest.raises(UserError, match=r"augment\.mixup"):
        build(experiment(demo_data, {"name": "random"}, copies={}, mixup={}), Console(quiet=True))
