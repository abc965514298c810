"""The protocol published_folds: the lists that are shipped, a list of one's own, and clips that fit none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from protocol_clips import ACTORS, CLIPS, all_folds, refusal, split, splits_by, values, voices, with_duplicates

from emotion_lightning.config import parts
from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import published_folds

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
