"""Protocols whose test speakers are not trained on, or hardly: speaker_folds, few_shot and one_speaker_out."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from protocol_clips import (
    CLIPS,
    EMOTIONS,
    all_folds,
    broken,
    refusal,
    split,
    splits,
    splits_by,
    values,
    voices,
    with_duplicates,
)

from emotion_lightning.corpora import Clip
from emotion_lightning.protocols import SPLITS


def recordings_of(clips: list[Clip], index: Iterable[int], name: str) -> list[Clip]:
    return [clips[i] for i in index if clips[i].speaker == name]


@pytest.mark.parametrize("fold", [0, 3])
def test_few_shot_moves_a_share_of_each_test_speaker_to_training_and_tests_the_same_clips(fold: int) -> None:
    clips = voices("one", 10, takes=5)  # 40 recordings of each speaker
    whole = split("speaker_folds", clips, fold=fold)
    none, some, all_of_it = (
        split("few_shot", clips, fold=fold, share=share, reserve=0.2) for share in (0.0, 0.1, 0.2)
    )
    tested = {clips[i].speaker for i in whole.test}
    for made, count in ((none, 0), (some, 4), (all_of_it, 8)):
        np.testing.assert_array_equal(made.test, none.test)
        np.testing.assert_array_equal(made.val, whole.val)
        for name in tested:
            known = recordings_of(clips, made.train, name)
            assert len(known) == count and len({clip.emotion for clip in known}) == min(count, 8)
            assert len(recordings_of(clips, made.test, name)) == 32
        assert set(whole.train) <= set(made.train) <= set(whole.train) | set(whole.test)
    assert set(some.train) <= set(all_of_it.train)


def test_few_shot_draws_other_clips_for_another_seed_and_keeps_copies_together() -> None:
    clips = with_duplicates(voices("one", 10, takes=5), [(0, 1), (2, 90), (3, 45)])
    made, other = (split("few_shot", clips, split_seed=seed) for seed in (0, 1))
    assert broken(made, clips, "content") == broken(other, clips, "content") == []
    assert set(made.train) != set(other.train)
    assert "protocol.share: 0.3 of the clips cannot come from a reserve of 0.2" in refusal(
        "few_shot", clips, share=0.3, reserve=0.2
    )
    assert "protocol.share" in refusal("few_shot", clips, share=0.6)


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_no_speaker_is_in_two_splits_and_each_clip_is_tested_in_one_fold(folds: int) -> None:
    clips = with_duplicates(CLIPS, [(0, 200), (40, 60)])
    tested: list[int] = []
    for fold in range(folds):
        made = split("speaker_folds", clips, folds=folds, fold=fold, split_seed=1)
        assert all(len(where) == 1 for where in splits_by(made, clips, lambda clip: clip.speaker).values())
        tested += made.test.tolist()
    assert sorted(tested) == list(range(len(clips)))


@pytest.mark.parametrize("seed", range(4))
def test_every_fold_tests_both_corpora_when_speakers_suffice(seed: int) -> None:
    clips = voices("ravdess", 24) + voices("savee", 5)
    for fold in range(5):
        made = split("speaker_folds", clips, fold=fold, split_seed=seed)
        assert values(made, "test", clips, "corpus") == {"ravdess", "savee"}
        assert values(made, "test", clips, "emotion") == set(EMOTIONS)


def test_four_speakers_of_a_second_corpus_are_tested_in_four_of_five_folds() -> None:
    clips = voices("ravdess", 24) + voices("savee", 4)
    tests = [split("speaker_folds", clips, fold=fold).test for fold in range(5)]
    assert sum(any(clips[i].corpus == "savee" for i in test) for test in tests) == 4


def test_speaker_folds_go_by_speaker_and_not_by_clip() -> None:
    """The share that validates is a sixth of what is not tested: of 24 + 4 speakers about 6, 4 and 18."""
    clips = voices("ravdess", 24) + voices("savee", 4)
    made = split("speaker_folds", clips)
    count = {split_name: len(values(made, split_name, clips, "speaker")) for split_name in SPLITS}
    assert count["test"] in (5, 6)
    assert count["val"] in (3, 4, 5)


def test_speakers_that_duplicates_link_count_as_one() -> None:
    one_voice = with_duplicates(voices("one", 5), [(0, 16), (16, 32)])
    assert "5 folds need as many speakers, and there are 3" in refusal("speaker_folds", one_voice)


def test_each_speaker_is_tested_in_the_fold_of_its_number() -> None:
    names = sorted({clip.speaker for clip in CLIPS})
    made = all_folds("one_speaker_out", CLIPS)
    assert [values(fold, "test", CLIPS, "speaker") for fold in made] == [{name} for name in names]
    assert all(len(values(fold, "val", CLIPS, "speaker")) in (2, 3) for fold in made)


def test_a_named_speaker_wins_over_the_number_and_is_the_same_split() -> None:
    named = splits("one_speaker_out", CLIPS, speaker="two-03", fold=1, split_seed=4)
    assert named == splits("one_speaker_out", CLIPS, fold=11, split_seed=4)


def test_speakers_who_share_a_recording_are_tested_together() -> None:
    clips = with_duplicates(CLIPS, [(0, 20)])
    made = all_folds("one_speaker_out", clips)
    assert len(made) == 14
    assert values(made[0], "test", clips, "speaker") == {"one-01", "one-02"}
    assert splits("one_speaker_out", clips, speaker="one-02") == splits("one_speaker_out", clips, fold=0)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"speaker": "one-1"}, "protocol.speaker: there is no speaker 'one-1'; did you mean 'one-01'?"),
        ({"fold": 15}, "protocol.fold: 15 is not one of the speakers 0…14"),
        ({"fold": -1}, "protocol.fold: -1 is not one of the speakers 0…14"),
    ],
)
def test_a_speaker_that_is_not_there_is_refused(args: dict[str, Any], message: str) -> None:
    assert refusal("one_speaker_out", CLIPS, **args) == message


def test_clips_of_unknown_speakers_are_refused() -> None:
    clips = [replace(clip, speaker="") if clip.corpus == "two" else clip for clip in CLIPS]
    message = refusal("one_speaker_out", clips)
    assert message == "protocol.name: one_speaker_out needs the speaker of each clip, which is unknown for 96 of two"
