"""`make sanity`: permuted emotions give the score of chance, and a leak of the labels is noticed."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from emotion_lightning.cli.sanity import chance_and_error, sanity
from emotion_lightning.config import loader as settings
from emotion_lightning.corpora import Clip
from emotion_lightning.data.permuted_labels import permuted
from emotion_lightning.training.calibration import Calibration
from emotion_lightning.training.evaluation import RunResult

EMOTIONS = ("angry", "happy", "sad")


def clips(copies: int = 1) -> list[Clip]:
    """Two speakers with 30 recordings of each emotion; each recording has `copies` variants besides."""
    made = []
    for speaker in ("a", "b"):
        for number in range(90):
            name, emotion = f"{speaker}{number:02}", EMOTIONS[number % 3]
            about: dict[str, Any] = {"path": Path(name), "corpus": "toy", "emotion": emotion, "speaker": speaker}
            made.append(Clip(id=name, content=name, **about))
            made += [Clip(id=f"{name}#v{i}", content=f"{name} {i}", variant=f"v{i}", **about) for i in range(copies)]
    return made


def test_each_speaker_keeps_the_number_of_clips_of_each_emotion() -> None:
    before, after = clips(), permuted(clips(), seed=0)
    assert Counter((c.speaker, c.emotion) for c in before) == Counter((c.speaker, c.emotion) for c in after)
    assert [c.id for c in before] == [c.id for c in after]
    kept = sum(old.emotion == new.emotion for old, new in zip(before, after, strict=True)) / len(before)
    assert 0.2 < kept < 0.5  # a third by chance
    assert permuted(clips(), seed=0) == after != permuted(clips(), seed=1)


def test_variants_and_equal_recordings_keep_one_emotion() -> None:
    twice = [*clips(), replace(clips()[0], id="again")]
    after = permuted(twice, seed=3)
    for name in {c.id.partition("#")[0] for c in after}:
        assert len({c.emotion for c in after if c.id.partition("#")[0] == name}) == 1
    assert after[-1].emotion == after[0].emotion


def test_chance_and_its_error_are_those_of_random_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    guesses = torch.nn.functional.one_hot(
        torch.multinomial(torch.tensor([0.7, 0.2, 0.1]), 300, True, generator=generator)
    )
    uars = []
    for _ in range(400):
        labels = torch.randperm(300, generator=generator) % 3
        recalls = [float((guesses.argmax(1)[labels == c] == c).float().mean()) for c in range(3)]
        uars.append(sum(recalls) / 3)
    result = RunResult("", "", {}, EMOTIONS, labels, guesses.float(), 0.0, Calibration())
    chance, error = chance_and_error(result)
    drawn = torch.tensor(uars)
    assert chance == pytest.approx(float(drawn.mean()), abs=0.005)
    assert error == pytest.approx(float(drawn.std()), rel=0.1)


@pytest.mark.parametrize("is_leak", [False, True])
def test_the_command_tells_chance_from_a_leak(
    in_tmp_path: Path, demo_data: Path, capsys: pytest.CaptureFixture[str], is_leak: bool
) -> None:
    """Leaky rows put copies of a clip, with its permuted emotion, into training and test: then the score is not chance."""
    protocol = "{name: leaky_rows, i_know_this_leaks: true}" if is_leak else "{name: speaker_folds, folds: 2}"
    changes = [f"protocol={protocol}", "augment.copies=on", "data.permute_labels=true", "fit.log_model=false"]
    changes += ["corpora.demo.speakers=4", "corpora.demo.takes=1", f"data.cache={demo_data}", "model.C=100"]
    experiment = settings.load("demo_svm", changes)
    assert sanity(experiment, Console(width=200)) is not is_leak
    printed = capsys.readouterr().out
    assert "PERMUTED LABELS · demo_svm" in printed
    assert ("labels reach the model by another way than sound" in printed) is is_leak
