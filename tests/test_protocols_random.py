"""Protocols that draw clips whoever speaks them: paper_random and random."""

from collections import Counter
from typing import Any

import pytest
from protocol_clips import CLIPS, EMOTIONS, all_folds, broken, refusal, split, splits_by, voices

from emotion_lightning.protocols import SPLITS


def test_paper_random_is_90_5_5_of_the_papers_clips() -> None:
    clips = voices("ravdess", 24, 8)[:1440] + voices("savee", 4, 15)
    assert len(clips) == 1920
    made = split("paper_random", clips)
    assert [made.indices(split_name).size for split_name in SPLITS] == [1728, 96, 96]
    assert {frozenset(where) for where in splits_by(made, clips, lambda clip: clip.corpus).values()} == {
        frozenset(SPLITS)
    }
    assert any(len(where) > 1 for where in splits_by(made, clips, lambda clip: clip.speaker).values())


def test_paper_random_is_not_stratified() -> None:
    """Counts of an emotion among 96 tested clips scatter from split to split, as they do in a blind draw."""
    clips = voices("ravdess", 24, 10)
    happy = [
        sum(clips[i].emotion == "happy" for i in split("paper_random", clips, split_seed=seed).test)
        for seed in range(20)
    ]
    assert len(set(happy)) > 3


@pytest.mark.parametrize("val_share", [0.0, 0.1, 0.2])
@pytest.mark.parametrize("test_share", [0.0, 0.1, 0.3])
def test_shares_count_clips(val_share: float, test_share: float) -> None:
    made = split("paper_random", CLIPS, val_share=val_share, test_share=test_share)
    assert made.test.size == round(240 * test_share)
    assert made.val.size == round(240 * val_share)


@pytest.mark.parametrize(
    "args", [{"val_share": 0.9, "test_share": 0.9}, {"val_share": -0.1}, {"test_share": 1.5}, {"split_seed": -1}]
)
def test_shares_and_seeds_that_cannot_be_are_refused(args: dict[str, Any]) -> None:
    message = refusal("paper_random", CLIPS, **args)
    assert any(f"protocol.{name}" in message for name in args)


def test_random_folds_hold_their_share_of_every_corpus_and_emotion() -> None:
    for made in all_folds("random", CLIPS):
        kinds = Counter((CLIPS[i].corpus, CLIPS[i].emotion) for i in made.test)
        assert all(kinds["one", emotion] in (3, 4) for emotion in EMOTIONS)  # of 18
        assert all(kinds["two", emotion] in (2, 3) for emotion in EMOTIONS)  # of 12


def test_random_has_speakers_and_sentences_in_all_splits() -> None:
    made = split("random", CLIPS)
    for field in ("speaker", "sentence"):
        assert len(broken(made, CLIPS, field)) > 10
