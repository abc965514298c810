"""The protocol cross_corpus: no corpus is both trained on and tested."""

from dataclasses import replace
from typing import Any

import pytest
from protocol_clips import (
    CLIPS,
    EMOTIONS,
    all_folds,
    broken,
    by_id,
    refusal,
    split,
    splits,
    values,
    voices,
    with_duplicates,
)

from emotion_lightning.config import loader as settings
from emotion_lightning.corpora import Clip
from emotion_lightning.protocols import SPLITS

THIRD = [clip for clip in voices("third", 5) if clip.emotion in EMOTIONS[2:6]]


def test_each_corpus_is_left_out_in_the_fold_of_its_number() -> None:
    clips = CLIPS + THIRD
    made = all_folds("cross_corpus", clips)
    assert [values(fold, "test", clips, "corpus") for fold in made] == [{"one"}, {"third"}, {"two"}]
    for fold in made:
        assert broken(fold, clips, "corpus") == broken(fold, clips, "speaker") == []
        assert all(values(fold, split_name, clips, "emotion") == set(EMOTIONS[2:6]) for split_name in SPLITS)
        assert values(fold, "train", clips, "speaker").isdisjoint(values(fold, "val", clips, "speaker"))


def test_only_clips_of_shared_emotions_are_in_a_split_and_all_of_them_are() -> None:
    clips = CLIPS + THIRD
    made = split("cross_corpus", clips, test=["third"])
    kept = sorted(i for split_name in SPLITS for i in made.indices(split_name).tolist())
    assert kept == [i for i, clip in enumerate(clips) if clip.emotion in EMOTIONS[2:6]]


def test_corpora_that_are_not_named_are_in_no_split() -> None:
    made = split("cross_corpus", CLIPS + THIRD, test=["two"], train=["one"])
    assert sorted(i for split_name in SPLITS for i in made.indices(split_name).tolist()) == list(range(len(CLIPS)))


def test_a_named_corpus_wins_and_may_be_written_without_brackets() -> None:
    written = [
        settings.load("resnet_aug", ["protocol=cross_corpus", f"protocol.test={text}"]) for text in ("two", "[two]")
    ]
    assert written[0].signature() == written[1].signature()
    assert splits("cross_corpus", CLIPS, **written[0].protocol.args) == splits("cross_corpus", CLIPS, fold=1)
    both = split("cross_corpus", CLIPS + THIRD, test=["two", "third"])
    assert values(both, "test", CLIPS + THIRD, "corpus") == {"two", "third"}


SAD = [clip for clip in voices("two", 3) if clip.emotion == "sad"]
SHARED_VOICE = [replace(clip, speaker="one-03") if clip.speaker == "two-01" else clip for clip in CLIPS]


@pytest.mark.parametrize(
    ("clips", "args", "message"),
    [
        (CLIPS, {"test": "on"}, "test: it should"),  # YAML's `on` is a boolean
        (CLIPS, {"test": "onne"}, "test: there is no clip of a corpus 'onne'; did you mean 'one'?"),
        (CLIPS, {"train": "[tvo]"}, "train: there is no clip of a corpus 'tvo'; did you mean 'two'?"),
        (CLIPS, {"train": "one"}, "train: one is tested, it cannot be trained on"),
        (CLIPS, {"test": "[one, two]"}, "test: every corpus is tested, none is left to train on"),
        (CLIPS, {"fold": 2}, "fold: 2 is not one of the corpora 0…1 (one, two)"),
        (CLIPS[:144], {}, "name: cross_corpus needs two corpora at least, and there is one alone"),
        (voices("one", 3) + SAD, {}, "test: one and two have fewer than two emotions in common"),
        (voices("one", 3) + voices("two", 1), {}, "val_folds: too few speakers besides the tested ones for a validation split"),
        (with_duplicates(CLIPS, [(0, 150)]), {}, "test: one recording is in a tested and in a training corpus: "
         "one/01-neutral-0, which is tested, and two/01-sad-0"),
        (SHARED_VOICE, {}, "test: one speaker is in a tested and in a training corpus: "
         "one/03-angry-0, which is tested, and two/01-angry-0"),
    ],
)  # fmt: skip
def test_corpora_that_cannot_be_crossed_are_refused(clips: list[Clip], args: dict[str, Any], message: str) -> None:
    assert f"protocol.{message}" in refusal("cross_corpus", clips, **args)


def test_copies_within_the_training_corpora_are_no_trouble() -> None:
    clips = with_duplicates(CLIPS, [(0, 1), (150, 200)])
    assert by_id("cross_corpus", clips)[2] == by_id("cross_corpus", CLIPS)[2]
