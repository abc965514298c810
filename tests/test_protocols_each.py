"""What each protocol promises beyond what all keep to, on made-up clips."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from test_protocols import (
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

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import SPLITS, Split, published_folds


def values(made: Split, split_name: str, clips: list[Clip], field: str) -> set[str]:
    return {getattr(clips[i], field) for i in made.indices(split_name)}


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


# ---------------------------------------------------------------- few_shot


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


# ---------------------------------------------------------------- speaker_folds


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


# ---------------------------------------------------------------- paper_random


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


@pytest.mark.parametrize(
    ("name", "digest"), [("paper_random", "8bf77a524d80e93c"), ("speaker_folds", "66677b1f0f096bfe")]
)
def test_the_splits_of_earlier_runs_are_kept(name: str, digest: str) -> None:
    """Published figures were trained on them (numpy 2.4, scikit-learn 1.9); the corpora are in the order of the settings."""
    clips = sorted(voices("zeta", 12, 3), key=lambda c: (c.speaker, c.id))
    clips += sorted(voices("alpha", 5), key=lambda c: (c.speaker, c.id))
    found = [splits(name, clips, split_seed=seed) for seed in range(5)]
    assert hashlib.sha256(repr(found).encode()).hexdigest()[:16] == digest


# ---------------------------------------------------------------- random


def test_random_folds_hold_their_share_of_every_corpus_and_emotion() -> None:
    for made in all_folds("random", CLIPS):
        kinds = Counter((CLIPS[i].corpus, CLIPS[i].emotion) for i in made.test)
        assert all(kinds["one", emotion] in (3, 4) for emotion in EMOTIONS)  # of 18
        assert all(kinds["two", emotion] in (2, 3) for emotion in EMOTIONS)  # of 12


def test_random_has_speakers_and_sentences_in_all_splits() -> None:
    made = split("random", CLIPS)
    for field in ("speaker", "sentence"):
        assert len(broken(made, CLIPS, field)) > 10


# ---------------------------------------------------------------- one_speaker_out


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


# ---------------------------------------------------------------- published_folds

LUNA = ((2, 5, 14, 15, 16), (3, 6, 7, 13, 18), (10, 11, 12, 19, 20), (8, 17, 21, 23, 24), (1, 4, 9, 22))
FOLDS = ("ravdess_luna_jimenez", "ravdess_emobox")


def test_the_tested_actors_are_the_published_ones() -> None:
    made = all_folds("published_folds", ACTORS)
    assert [values(fold, "test", ACTORS, "speaker") for fold in made] == [
        {f"ravdess-{actor:02}" for actor in actors} for actors in LUNA
    ]
    assert all(
        values(fold, "val", ACTORS, "speaker").isdisjoint(values(fold, "train", ACTORS, "speaker")) for fold in made
    )


@pytest.mark.parametrize("name", FOLDS)
def test_a_list_has_each_speaker_of_its_corpora_once(name: str) -> None:
    found = published_folds.load(name)
    official = {speaker for corpus in found.corpora for speaker, _ in parts.load("corpora", corpus).ABOUT.official}
    assert sorted(speaker for fold in found.speakers for speaker in fold) == sorted(official)
    made = all_folds("published_folds", ACTORS, published=name)
    assert len(made) == len(found.speakers)
    assert sorted(np.concatenate([fold.test for fold in made]).tolist()) == list(range(len(ACTORS)))


def test_every_list_that_is_shipped_is_tested_here() -> None:
    folder = Path(published_folds.__file__).with_name("folds")
    assert sorted(file.stem for file in folder.iterdir()) == sorted(FOLDS)


def test_the_seed_draws_the_validation_split_only() -> None:
    made = [split("published_folds", ACTORS, split_seed=seed) for seed in range(4)]
    assert len({tuple(fold.test.tolist()) for fold in made}) == 1
    assert len({tuple(fold.val.tolist()) for fold in made}) > 1


@pytest.mark.parametrize(
    ("clips", "args", "message"),
    [
        (ACTORS, {"published": "ravdess_em"}, "published: there are no folds named 'ravdess_em'; did you mean 'ravdess_emobox'?"),
        (ACTORS, {"fold": 5}, "fold: 5 is not one of the folds 0…4 of ravdess_luna_jimenez"),
        (ACTORS[:16], {"fold": 0}, "fold: no clip is of a speaker of fold 0 of ravdess_luna_jimenez"),
        (ACTORS + voices("savee", 4), {}, "published: ravdess_luna_jimenez is of ravdess and has no fold for 4 speakers of "
         "these clips (savee-01, savee-02, savee-03, …)"),
        (with_duplicates(ACTORS, [(0, 16)]), {}, "published: ravdess_luna_jimenez tests ravdess-01 and ravdess-02 in "
         "different folds, but they share a recording"),
        (ACTORS[:32], {}, "val_folds: too few speakers besides the tested ones for a validation split"),
    ],
)  # fmt: skip
def test_what_a_list_does_not_fit_is_refused(clips: list[Clip], args: dict[str, Any], message: str) -> None:
    assert refusal("published_folds", clips, **args) == f"protocol.{message}"


def test_copies_within_a_published_fold_are_no_trouble() -> None:
    clips = with_duplicates(ACTORS, [(0, 3 * 16), (16, 4 * 16)])  # actors 1 and 4, 2 and 5
    made = split("published_folds", clips, fold=0)
    assert len(splits_by(made, clips, lambda clip: clip.content)[clips[16].content]) == 1


LIST = """\
source: ours
corpora: [one]
speakers:
  - [one-01, one-02, one-03]
  - [one-04, one-05, one-06, one-07, one-08, one-09]
"""


def own_list(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str, name: str = "ours.yaml") -> None:
    (folder / "protocols" / "folds").mkdir(parents=True)
    (folder / "protocols" / "folds" / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv(parts.ENVIRONMENT, str(folder))


def test_a_list_of_ones_own_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_list(tmp_path, monkeypatch, LIST)
    clips = voices("one", 9)
    made = split("published_folds", clips, published="ours")
    assert values(made, "test", clips, "speaker") == {"one-01", "one-02", "one-03"}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("one-04", "one-03", "speakers: a speaker is tested once, and one-03 is listed twice"),
        ("corpora", "corpus", "corpus: no such setting; did you mean 'corpora'?"),
        ("[one-01, one-02, one-03]", "[]", "speakers.0"),
        ("one-01", "1", "speakers.0.0"),
    ],
)
def test_a_faulty_list_is_reported_by_file_and_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, said: str
) -> None:
    own_list(tmp_path, monkeypatch, LIST.replace(old, new))
    with pytest.raises(UserError, match=r"ours\.yaml") as caught:
        split("published_folds", CLIPS, published="ours")
    assert said in str(caught.value)


def test_a_shipped_lists_name_is_not_for_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own_list(tmp_path, monkeypatch, LIST, "ravdess_emobox.yaml")
    with pytest.raises(UserError, match="there is a file of that name in protocols/folds/ already; rename yours"):
        split("published_folds", CLIPS)


# ---------------------------------------------------------------- text_independent


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


# ---------------------------------------------------------------- cross_corpus

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
