"""What every protocol keeps to on made-up clips, and what each promises beyond that."""

import hashlib
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from emotion_lightning import parts, settings
from emotion_lightning.corpora import EMOTIONS, Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import SIDES, Split, linked

NAMES = parts.names("protocols")
ON_PROTOCOLS = pytest.mark.parametrize("name", NAMES)


def voices(corpus: str, speakers: int, takes: int = 2) -> list[Clip]:
    """`takes` clips of each speaker and emotion, no two of equal content."""
    return [
        Clip(f"{s:02}-{emotion}-{take}", Path(), corpus, emotion, f"{corpus}-{s:02}", content=f"{corpus}{s}{emotion}{take}")
        for s in range(speakers)
        for emotion in EMOTIONS
        for take in range(takes)
    ]  # fmt: skip


CLIPS = voices("one", 9) + voices("two", 6)


def split(name: str, clips: Sequence[Clip], **args: Any) -> Split:
    return cast(Split, parts.entry("protocols", name)(clips, **args))


def sides(name: str, clips: Sequence[Clip], **args: Any) -> tuple[tuple[int, ...], ...]:
    made = split(name, clips, **args)
    return tuple(tuple(made.side(side).tolist()) for side in SIDES)


def refusal(name: str, clips: Sequence[Clip], **args: Any) -> str:
    """What the settings, or else the protocol itself, say to these arguments."""
    overrides = [f"protocol={name}", *(f"protocol.{key}={value}" for key, value in args.items())]
    with pytest.raises(UserError) as caught:
        split(name, clips, **settings.load("resnet_aug", overrides).protocol.args)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def sides_by(made: Split, clips: Sequence[Clip], key: Callable[[Clip], Hashable]) -> dict[Hashable, set[str]]:
    """Key → the sides on which clips of that key stand."""
    where = defaultdict(set)
    for side in SIDES:
        for i in made.side(side):
            where[key(clips[i])].add(side)
    return where


def with_duplicates(clips: Sequence[Clip], pairs: Iterable[tuple[int, int]]) -> list[Clip]:
    """Each pair's second clip gets the first one's audio, whoever speaks it."""
    clips = list(clips)
    for a, b in pairs:
        clips[b] = replace(clips[b], content=clips[a].content)
    return clips


def fingerprint() -> str:
    """Of every protocol's split of CLIPS."""
    return hashlib.sha256(repr([sides(name, CLIPS, split_seed=3) for name in NAMES]).encode()).hexdigest()


# ---------------------------------------------------------------- every protocol


@ON_PROTOCOLS
@hypothesis_settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), one=st.integers(8, 12), two=st.integers(0, 8), takes=st.integers(2, 3))
def test_three_sides_share_out_the_clips(name: str, seed: int, one: int, two: int, takes: int) -> None:
    clips = voices("one", one, takes) + voices("two", two, takes)
    made = split(name, clips, split_seed=seed)
    assert np.concatenate([made.side(side) for side in SIDES]).size == len(clips)
    assert sorted(i for side in SIDES for i in made.side(side).tolist()) == list(range(len(clips)))
    for side in SIDES:
        assert made.side(side).size > 0
        assert made.side(side).dtype == np.int64
        assert (np.diff(made.side(side)) > 0).all()
    assert made.train.size > made.val.size + made.test.size


@ON_PROTOCOLS
def test_one_seed_names_one_split(name: str) -> None:
    assert sides(name, CLIPS, split_seed=5) == sides(name, CLIPS, split_seed=5)
    np.random.seed(1)  # noqa: NPY002 - that the global generator has no part in it
    assert sides(name, CLIPS, split_seed=5) == sides(name, CLIPS, split_seed=5)


@ON_PROTOCOLS
def test_other_seeds_name_other_splits(name: str) -> None:
    assert len({sides(name, CLIPS, split_seed=seed) for seed in range(6)}) >= 5


def test_splits_do_not_hang_on_the_process() -> None:
    """Nothing goes by Python's string hash, which differs from process to process."""
    code = "import test_protocols; print(test_protocols.fingerprint())"
    here = Path(__file__).parent
    hash_seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == fingerprint(), done.stderr


@ON_PROTOCOLS
@hypothesis_settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    pairs=st.lists(st.tuples(st.integers(0, len(CLIPS) - 1), st.integers(0, len(CLIPS) - 1)), max_size=5),
)
def test_a_clip_and_its_duplicates_stand_on_one_side(name: str, seed: int, pairs: list[tuple[int, int]]) -> None:
    """Five pairs link 15 speakers to no fewer than 10 groups, so that five folds stay possible."""
    clips = with_duplicates(CLIPS, pairs)
    made = split(name, clips, split_seed=seed)
    assert all(len(where) == 1 for where in sides_by(made, clips, lambda clip: clip.content).values())


@ON_PROTOCOLS
def test_many_copies_of_one_clip_stand_on_one_side(name: str) -> None:
    for copies in ([(0, i) for i in range(1, 16)], [(0, i) for i in range(1, 40)]):  # of one speaker, of three
        clips = with_duplicates(CLIPS, copies)
        for seed in range(10):
            where = sides_by(split(name, clips, split_seed=seed), clips, lambda clip: clip.content)
            assert len(where[clips[0].content]) == 1


@ON_PROTOCOLS
def test_clips_whose_content_is_not_known_are_no_duplicates(name: str) -> None:
    unknown = [replace(clip, content="") for clip in CLIPS]
    assert sides(name, unknown, split_seed=2) == sides(name, CLIPS, split_seed=2)


def test_links_reach_from_clip_to_clip() -> None:
    """0 and 1 sound alike, 1 and 2 are of one speaker, 3 stands alone and so does 4, whose speaker is not known."""
    contents, speakers = ["x", "x", "y", "z", "w"], ["a", "b", "b", "c", ""]
    clips = [replace(CLIPS[0], content=c, speaker=s) for c, s in zip(contents, speakers, strict=True)]
    groups = linked(clips, [lambda clip: clip.content, lambda clip: clip.speaker]).tolist()
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups)) == 3
    assert sorted(set(groups)) == [0, 1, 2]


def test_equal_values_of_different_keys_link_nothing() -> None:
    clips = [replace(CLIPS[0], content="x", speaker="a"), replace(CLIPS[1], content="y", speaker="x")]
    assert len(set(linked(clips, [lambda clip: clip.content, lambda clip: clip.speaker]).tolist())) == 2


# ---------------------------------------------------------------- speaker_folds


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_no_speaker_stands_on_two_sides_and_each_clip_is_tested_in_one_fold(folds: int) -> None:
    clips = with_duplicates(CLIPS, [(0, 200), (40, 60)])
    tested: list[int] = []
    for fold in range(folds):
        made = split("speaker_folds", clips, folds=folds, fold=fold, split_seed=1)
        assert all(len(where) == 1 for where in sides_by(made, clips, lambda clip: clip.speaker).values())
        tested += made.test.tolist()
    assert sorted(tested) == list(range(len(clips)))


@pytest.mark.parametrize("seed", range(4))
def test_every_fold_tests_both_corpora_when_speakers_suffice(seed: int) -> None:
    clips = voices("ravdess", 24) + voices("savee", 5)
    for fold in range(5):
        tested = [clips[i] for i in split("speaker_folds", clips, fold=fold, split_seed=seed).test]
        assert {clip.corpus for clip in tested} == {"ravdess", "savee"}
        assert {clip.emotion for clip in tested} == set(EMOTIONS)


def test_four_speakers_of_a_second_corpus_are_tested_in_four_of_five_folds() -> None:
    clips = voices("ravdess", 24) + voices("savee", 4)
    tests = [split("speaker_folds", clips, fold=fold).test for fold in range(5)]
    assert sum(any(clips[i].corpus == "savee" for i in test) for test in tests) == 4


def test_speaker_folds_go_by_speaker_and_not_by_clip() -> None:
    """The share that validates is a sixth of what is not tested: of 24 + 4 speakers about 6, 4 and 18."""
    clips = voices("ravdess", 24) + voices("savee", 4)
    made = split("speaker_folds", clips)
    count = {side: len({clips[i].speaker for i in made.side(side)}) for side in SIDES}
    assert count["test"] in (5, 6)
    assert count["val"] in (3, 4, 5)


@pytest.mark.parametrize(
    ("args", "path"),
    [
        ({"fold": 5}, "protocol.fold"),
        ({"fold": -1}, "protocol.fold"),
        ({"folds": 16}, "protocol.folds"),
        ({"folds": 1}, "protocol.fold"),
        ({"folds": 0}, "protocol.fold"),
        ({"val_folds": 1}, "protocol.val_folds"),
        ({"split_seed": -1}, "protocol.split_seed"),
    ],
)
def test_folds_that_cannot_be_are_refused(args: dict[str, int], path: str) -> None:
    assert path in refusal("speaker_folds", CLIPS, **args)


def test_speakers_that_duplicates_link_count_as_one() -> None:
    one_voice = with_duplicates(voices("one", 5), [(0, 16), (16, 32)])
    assert "5 folds need as many speakers, and there are 3" in refusal("speaker_folds", one_voice)


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize("clips", [voices("one", 3), voices("one", 6)[::5]], ids=["three speakers", "few clips"])
def test_too_little_for_three_sides_is_refused_or_split_but_does_not_crash(clips: list[Clip], fold: int) -> None:
    try:
        made = split("speaker_folds", clips, folds=2 if len(clips) > 40 else 5, fold=fold)
    except UserError as error:
        assert str(error).startswith("protocol.")
    else:
        assert all(made.side(side).size for side in SIDES)


# ---------------------------------------------------------------- paper_random


def test_paper_random_is_90_5_5_of_the_papers_clips() -> None:
    clips = voices("ravdess", 24, 8)[:1440] + voices("savee", 4, 15)
    assert len(clips) == 1920
    made = split("paper_random", clips)
    assert [made.side(side).size for side in SIDES] == [1728, 96, 96]
    assert {frozenset(where) for where in sides_by(made, clips, lambda clip: clip.corpus).values()} == {
        frozenset(SIDES)
    }
    assert any(len(where) > 1 for where in sides_by(made, clips, lambda clip: clip.speaker).values())


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
