"""What every protocol guarantees, on made-up clips; the files test_protocols_*.py test what each one adds.

A new protocol is tested here by its file's being there. `leaky_rows` alone is left out: it breaks on purpose what all
others keep to.
"""

import hashlib
import os
import subprocess
import sys
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from protocol_clips import (
    ACTORS,
    CLIPS,
    EMOTIONS,
    all_folds,
    broken,
    by_id,
    refusal,
    split,
    splits,
    splits_by,
    voices,
    with_duplicates,
)

from emotion_lightning.config import parts
from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import SPLITS, Split, group_ids, promises, random, sorted_indices

NAMES = [name for name in parts.names("protocols") if name != "leaky_rows"]
ON_PROTOCOLS = pytest.mark.parametrize("name", NAMES)
NOT_STRATIFIED = {"paper_random"}
BY_ORDER_OF_CORPORA = {
    "paper_random",
    "speaker_folds",
    "few_shot",  # has the folds of speaker_folds
}  # their splits are older than the rule that it should not count
MOVES_TEST_CLIPS = {"few_shot"}  # to training, so they are tested in no fold
MAY_REFUSE_COPIES = {"published_folds", "cross_corpus"}  # where they would bend what is published or promised
CLIPS_FOR = MappingProxyType({"published_folds": ACTORS})


def clips_for(name: str) -> list[Clip]:
    return CLIPS_FOR.get(name, CLIPS)


@cache
def fingerprint() -> str:
    """Of every protocol's split."""
    return hashlib.sha256(repr([splits(name, clips_for(name), split_seed=3) for name in NAMES]).encode()).hexdigest()


@ON_PROTOCOLS
@hypothesis_settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), one=st.integers(8, 12), two=st.integers(0, 8), takes=st.integers(2, 3))
def test_three_splits_share_the_clips(name: str, seed: int, one: int, two: int, takes: int) -> None:
    two = max(two, 2) if name == "cross_corpus" else two
    clips = voices("one", one, takes) + voices("two", two, takes)
    clips = voices("ravdess", 24, takes) if name == "published_folds" else clips
    made = split(name, clips, split_seed=seed)
    assert np.concatenate([made.indices(split_name) for split_name in SPLITS]).size == len(clips)
    assert sorted(i for split_name in SPLITS for i in made.indices(split_name).tolist()) == list(range(len(clips)))
    for split_name in SPLITS:
        assert made.indices(split_name).size > 0
        assert made.indices(split_name).dtype == np.int64
        assert (np.diff(made.indices(split_name)) > 0).all()
    assert made.train.size >= made.val.size
    assert all(broken(made, clips, field) == [] for field in promises(name))


@ON_PROTOCOLS
@pytest.mark.parametrize("seed", range(3))
def test_each_clip_is_tested_in_one_fold_and_every_fold_keeps_the_promise(name: str, seed: int) -> None:
    clips = clips_for(name)
    made = all_folds(name, clips, split_seed=seed)
    if len(made) > 1 and name not in MOVES_TEST_CLIPS:
        assert sorted(i for fold in made for i in fold.test.tolist()) == list(range(len(clips)))
    for fold in made:
        assert sorted(np.concatenate([fold.train, fold.val, fold.test]).tolist()) == list(range(len(clips)))
        assert all(broken(fold, clips, field) == [] for field in promises(name))
        if name not in NOT_STRATIFIED:
            assert all({clips[i].emotion for i in fold.indices(split_name)} == set(EMOTIONS) for split_name in SPLITS)


@ON_PROTOCOLS
def test_what_is_promised_are_fields_of_a_clip(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(promises(name)) <= {field.name for field in fields(Clip)}
    monkeypatch.delattr(parts.load("protocols", name), "DISJOINT")
    assert promises(name) == ()


def test_a_broken_promise_would_be_seen() -> None:
    """`broken` itself, on a split by clip and on a shared text within one corpus, in two corpora and unknown."""
    assert set(broken(random.split(CLIPS), CLIPS, "speaker")) == {clip.speaker for clip in CLIPS}
    pair = [replace(CLIPS[0], sentence="x"), replace(CLIPS[1], sentence="x")]
    made = Split(*(np.array(split_name, dtype=np.int64) for split_name in ([0], [], [1])))
    assert broken(made, pair, "sentence") == [("one", "x")]
    assert broken(made, [pair[0], replace(pair[1], corpus="two")], "sentence") == []
    assert broken(made, [replace(clip, sentence="") for clip in pair], "sentence") == []


@ON_PROTOCOLS
def test_one_seed_names_one_split(name: str) -> None:
    once = splits(name, clips_for(name), split_seed=5)
    np.random.seed(1)  # noqa: NPY002 - that the global generator has no part in it
    assert splits(name, clips_for(name), split_seed=5) == once


@ON_PROTOCOLS
def test_other_seeds_name_other_splits(name: str) -> None:
    assert len({splits(name, clips_for(name), split_seed=seed) for seed in range(6)}) >= 3


@ON_PROTOCOLS
@hypothesis_settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), order=st.randoms(use_true_random=False))
def test_splits_do_not_depend_on_the_order_of_the_clips(name: str, seed: int, order: Any) -> None:
    clips = clips_for(name)
    shuffled = list(clips)
    order.shuffle(shuffled)
    if name in BY_ORDER_OF_CORPORA:
        shuffled.sort(key=lambda clip: clip.corpus)
    assert by_id(name, shuffled, split_seed=seed) == by_id(name, clips, split_seed=seed)


@ON_PROTOCOLS
def test_names_in_any_letters_sort_by_code_point(name: str) -> None:
    """The order that `open_corpus` gives is left as it is, whatever the letters: by code point, not by a locale."""
    spelt = [replace(clip, id=f"{'äZa_'[i % 4]}{clip.id}") for i, clip in enumerate(clips_for(name))]
    canonical = sorted(spelt, key=lambda clip: (clip.corpus, clip.speaker, clip.id))
    assert sorted_indices(canonical).tolist() == list(range(len(canonical)))
    assert by_id(name, canonical, split_seed=1) == by_id(name, spelt, split_seed=1)


@pytest.mark.parametrize(
    "locales", [["C"], ["de_DE.UTF-8", "sv_SE.UTF-8", "en_US.UTF-8", "C.UTF-8"]], ids=["C", "other"]
)
def test_splits_do_not_depend_on_the_process(locales: list[str]) -> None:
    """Nothing goes by Python's string hash, which differs from process to process, nor by the locale."""
    code = f"""
import locale
for name in {locales}:
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        continue
    break
else:
    raise SystemExit("none of the locales is installed")
import test_protocols
print(test_protocols.fingerprint())
"""
    here = Path(__file__).parent
    variables = {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}", "LC_ALL": locales[-1]}
    variables["PYTHONHASHSEED"] = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == fingerprint(), done.stderr


@ON_PROTOCOLS
@hypothesis_settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    pairs=st.lists(st.tuples(st.integers(0, len(CLIPS) - 1), st.integers(0, len(CLIPS) - 1)), max_size=5),
)
def test_a_clip_and_its_duplicates_are_in_one_split(name: str, seed: int, pairs: list[tuple[int, int]]) -> None:
    """Five pairs link 15 speakers to no fewer than 10 groups, so that five folds stay possible."""
    clips = with_duplicates(clips_for(name), pairs)
    try:
        made = split(name, clips, split_seed=seed)
    except UserError as error:
        assert name in MAY_REFUSE_COPIES and "recording" in str(error)
        assert any(clips[a].speaker != clips[b].speaker for a, b in pairs)
    else:
        assert all(len(where) == 1 for where in splits_by(made, clips, lambda clip: clip.content).values())
        assert all(broken(made, clips, field) == [] for field in promises(name))


@ON_PROTOCOLS
@pytest.mark.parametrize("copies", [16, 40], ids=["of one speaker", "of three speakers"])
def test_many_copies_of_one_clip_are_in_one_split(name: str, copies: int) -> None:
    clips = with_duplicates(clips_for(name), [(0, i) for i in range(1, copies)])
    for seed in range(10):
        try:
            where = splits_by(split(name, clips, split_seed=seed), clips, lambda clip: clip.content)
        except UserError as error:
            assert name in MAY_REFUSE_COPIES and "recording" in str(error) and copies > 16
        else:
            assert len(where[clips[0].content]) == 1


@ON_PROTOCOLS
def test_clips_whose_content_is_not_known_are_no_duplicates(name: str) -> None:
    unknown = [replace(clip, content="") for clip in clips_for(name)]
    assert splits(name, unknown, split_seed=2) == splits(name, clips_for(name), split_seed=2)


def test_links_reach_from_clip_to_clip() -> None:
    """0 and 1 sound alike, 1 and 2 are of one speaker, 3 is alone, and so is 4, whose speaker is not known."""
    contents, speakers = ["x", "x", "y", "z", "w"], ["a", "b", "b", "c", ""]
    clips = [replace(CLIPS[0], content=c, speaker=s) for c, s in zip(contents, speakers, strict=True)]
    groups = group_ids(clips, [lambda clip: clip.content, lambda clip: clip.speaker]).tolist()
    assert groups[0] == groups[1] == groups[2]
    assert len(set(groups)) == 3
    assert sorted(set(groups)) == [0, 1, 2]


def test_equal_values_of_different_keys_link_nothing() -> None:
    clips = [replace(CLIPS[0], content="x", speaker="a"), replace(CLIPS[1], content="y", speaker="x")]
    assert len(set(group_ids(clips, [lambda clip: clip.content, lambda clip: clip.speaker]).tolist())) == 2


@pytest.mark.parametrize("name", ["speaker_folds", "few_shot", "random", "text_independent"])
@pytest.mark.parametrize(
    ("args", "path"),
    [
        ({"fold": 5}, "protocol.fold: 5 is not one of the folds 0…"),
        ({"fold": -1}, "protocol.fold"),
        ({"folds": 500}, "protocol.folds: 500 folds need as many"),
        ({"folds": 1}, "protocol.fold"),
        ({"folds": 0}, "protocol.fold"),
        ({"val_folds": 1}, "protocol.val_folds"),
        ({"split_seed": -1}, "protocol.split_seed"),
    ],
)
def test_folds_that_cannot_be_are_refused(name: str, args: dict[str, int], path: str) -> None:
    assert path in refusal(name, CLIPS, **args)


@pytest.mark.parametrize("name", ["speaker_folds", "random", "text_independent", "one_speaker_out"])
@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize(
    "clips",
    [voices("one", 3), voices("one", 6)[::5], voices("one", 3)[:3], voices("one", 1)[:1]],
    ids=["three speakers", "few clips", "three clips", "one clip"],
)
def test_too_little_for_three_splits_is_refused_or_split_but_does_not_crash(
    name: str, clips: list[Clip], fold: int
) -> None:
    folds = {"folds": 2 if len(clips) > 40 else 5} if name == "speaker_folds" else {}
    try:
        made = split(name, clips, fold=fold, **folds)
    except UserError as error:
        assert str(error).startswith("protocol.")
    else:
        assert all(made.indices(split_name).size for split_name in SPLITS)


@pytest.mark.parametrize(
    ("name", "digest"), [("paper_random", "8bf77a524d80e93c"), ("speaker_folds", "66677b1f0f096bfe")]
)
def test_the_splits_of_earlier_runs_are_kept(name: str, digest: str) -> None:
    """Published figures were trained on them (numpy 2.4, scikit-learn 1.9); the corpora are in the order of the settings."""
    clips = sorted(voices("zeta", 12, 3), key=lambda c: (c.speaker, c.id))
    clips += sorted(voices("alpha", 5), key=lambda c: (c.speaker, c.id))
    found = [splits(name, clips, split_seed=seed) for seed in range(5)]
    assert hashlib.sha256(repr(found).encode()).hexdigest()[:16] == digest
