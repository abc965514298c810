"""The protocol text_independent: no tested sentence is trained on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from protocol_clips import (
    CLIPS,
    EMOTIONS,
    all_folds,
    broken,
    refusal,
    split,
    splits_by,
    values,
    voices,
    with_duplicates,
)

from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import SPLITS


def nested(corpus: str, speakers: int, sentences: dict[str, int]) -> list[Clip]:
    """As SAVEE: each speaker says each sentence once, and a sentence is one emotion's."""
    return [
        Clip(f"{s}-{emotion}-{n:03}", Path(), corpus, emotion, f"{corpus}-{s}",
             sentence=f"{emotion}{n}", content=f"{corpus}{s}{emotion}{n}")
        for s in range(speakers)
        for emotion, count in sentences.items()
        for n in range(count)
    ]  # fmt: skip


RAVDESS = voices("ravdess", 24, 8, sentences=2)
SAVEE = nested("savee", 4, {emotion: 30 if emotion == "neutral" else 15 for emotion in EMOTIONS if emotion != "calm"})


@pytest.mark.parametrize("seed", range(5))
def test_two_sentences_and_120_leave_every_emotion_and_corpus_in_all_splits(seed: int) -> None:
    clips = RAVDESS + SAVEE
    made = all_folds("text_independent", clips, split_seed=seed)
    assert len(made) == 2
    for fold in made:
        assert broken(fold, clips, "sentence") == []
        for split_name in SPLITS:
            assert {(clips[i].corpus, clips[i].emotion) for i in fold.indices(split_name)} == {
                (clip.corpus, clip.emotion) for clip in clips
            }


def test_validation_has_sentences_of_its_own_where_there_are_enough_and_only_there() -> None:
    clips = RAVDESS + SAVEE
    made = split("text_independent", clips)
    texts = {
        split_name: {(clips[i].corpus, clips[i].sentence) for i in made.indices(split_name)} for split_name in SPLITS
    }
    shared = texts["train"] & texts["val"]
    assert {corpus for corpus, _ in shared} == {"ravdess"}
    assert len(shared) == 1
    assert len([corpus for corpus, _ in texts["test"] if corpus == "ravdess"]) == 1


@hypothesis_settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000), folds=st.integers(2, 4))
def test_uneven_texts_are_tested_as_promised(data: st.DataObject, seed: int, folds: int) -> None:
    """Two corpora, sentences within emotions and across, clips missing at random."""
    counts = {emotion: data.draw(st.integers(folds, 9)) for emotion in EMOTIONS[:4]}
    clips = nested("savee", 3, counts) + voices("other", 6, 3, sentences=data.draw(st.integers(folds, 9)))
    keep = np.random.default_rng(seed).random(len(clips)) < data.draw(st.floats(0.6, 1.0))
    clips = [clip for clip, kept in zip(clips, keep, strict=True) if kept]
    try:
        made = all_folds("text_independent", clips, folds=folds, split_seed=seed)
    except UserError as error:
        assert str(error).startswith(("protocol.folds", "protocol.split_seed")) and not keep.all()
        return
    assert sorted(np.concatenate([fold.test for fold in made]).tolist()) == list(range(len(clips)))
    for fold in made:
        assert broken(fold, clips, "sentence") == []
        assert values(fold, "test", clips, "corpus") == {"savee", "other"}
        assert values(fold, "test", clips, "emotion") == values(fold, "train", clips, "emotion") == set(EMOTIONS)


NO_TEXT = [replace(clip, sentence="") if clip.speaker == "savee-1" else clip for clip in SAVEE]


@pytest.mark.parametrize(
    ("clips", "args", "message"),
    [
        (
            RAVDESS,
            {"folds": 3},
            "folds: 3 folds need as many sentences of each corpus and emotion, and ravdess has 2; "
            'SET="corpora.ravdess=off" leaves it out',
        ),
        (
            SAVEE,
            {"folds": 16},
            "folds: 16 folds need as many sentences of each corpus and emotion, and angry has 15; "
            'SET="emotions.angry=off" leaves it out',
        ),
        (NO_TEXT, {}, "name: text_independent needs the sentence of each clip, which is unknown for 120 of savee"),
    ],
)
def test_texts_that_do_not_suffice_or_are_not_known_are_refused(
    clips: list[Clip], args: dict[str, int], message: str
) -> None:
    assert refusal("text_independent", clips, **args) == f"protocol.{message}"


def test_the_same_text_in_another_corpus_is_another_sentence() -> None:
    clips = voices("one", 4, sentences=2) + voices("two", 4, sentences=2)
    made = split("text_independent", clips)
    assert values(made, "test", clips, "corpus") == {"one", "two"}


def test_copies_in_two_corpora_tie_their_sentences_together() -> None:
    clips = with_duplicates(CLIPS, [(0, 150)])
    for made in all_folds("text_independent", clips):
        where = splits_by(made, clips, lambda clip: (clip.corpus, clip.sentence))
        first, second = (where[clips[i].corpus, clips[i].sentence] for i in (0, 150))
        assert ("test" in first) == ("test" in second)
