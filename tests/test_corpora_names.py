"""What the file names of each corpus say; test_corpora.py tests what all corpora have in common."""

import re
from collections import Counter
from pathlib import Path

import pytest
from corpus_files import (
    EMOVO_SENTENCES,
    FILES,
    SAVEE_LAYOUTS,
    iemocap_texts,
    opened,
    put,
    ravdess_names,
    touch,
    write,
)

from emotion_lightning.corpora import EMOTIONS, Clip, Corpus
from emotion_lightning.errors import UserError

RAVDESS = FILES["ravdess"]
TOLD = ("speaker", "sex", "emotion", "sentence", "intensity", "take")


def emotions(corpus: Corpus) -> Counter[str]:
    return Counter(clip.emotion for clip in corpus.clips)


def one(name: str, file: str, folder: Path) -> Clip:
    touch(folder, [file])
    (clip,) = opened(name, folder).clips
    return clip


@pytest.mark.parametrize(
    ("name", "file", "expected"),
    [  # the examples of the corpora's own papers and pages, where they give any
        ("ravdess", "03-01-06-01-02-01-12.wav", "ravdess-12 female fearful dogs normal 01"),
        ("ravdess", "03-01-05-02-01-02-07.wav", "ravdess-07 male angry kids strong 02"),
        ("crema_d", "AudioWAV/1001_DFA_ANG_XX.wav", "crema_d-1001 male angry DFA - -"),
        ("crema_d", "AudioWAV/1091_IEO_SAD_HI.wav", "crema_d-1091 female sad IEO high -"),
        ("crema_d", "audiowav/1012_ieo_fea_lo.wav", "crema_d-1012 female fearful IEO low -"),
        ("tess", "OAF_Pleasant_surprise/OAF_back_ps.wav", "tess-OAF female surprised back - -"),
        ("tess", "YAF_fear/YAF_youth_fear.wav", "tess-YAF female fearful youth - -"),
        ("tess", "OAF_neutral/OA_bite_neutral.wav", "tess-OAF female neutral bite - -"),
        ("emodb", "wav/03a01Fa.wav", "emodb-03 male happy a01 - a"),
        ("emodb", "wav/16b10Lb.wav", "emodb-16 female bored b10 - b"),
        ("emovo", "EMOVO/f1/dis-f1-b1.wav", "emovo-f1 female disgust b1 - -"),
        ("emovo", "EMOVO/M3/SOR-M3-D2.WAV", "emovo-m3 male surprised d2 - -"),
    ],
)
def test_a_name_is_read_as_the_corpus_says(name: str, file: str, expected: str, tmp_path: Path) -> None:
    clip = one(name, file, tmp_path)
    assert [getattr(clip, field) or "-" for field in TOLD] == expected.split()


@pytest.mark.parametrize(
    ("name", "other", "official"),
    [  # names in circulation that are not in the official list
        ("crema_d", "AudioWAV/1040_ITH_SAD_X.wav", "AudioWAV/1040_ITH_SAD_XX.wav"),
        ("tess", "OAF_neutral/OAF_bite_neutral.wav", "OAF_neutral/OA_bite_neutral.wav"),
    ],
)
def test_both_spellings_of_an_odd_name_are_one_clip(name: str, other: str, official: str, tmp_path: Path) -> None:
    assert one(name, other, tmp_path / "other").id == one(name, official, tmp_path / "official").id
    put(name, tmp_path / "both", [other, *FILES[name]])
    (warning,) = opened(name, tmp_path / "both").warnings
    assert "1 file not read, second copies" in warning


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("crema_d", "AudioWAV/1092_DFA_ANG_XX.wav"),
        ("crema_d", "AudioWAV/1001_XYZ_ANG_XX.wav"),
        ("tess", "TESS Toronto emotional speech set data/OAF_angry.wav"),
        ("emodb", "wav/07a01Fa.wav"),
        ("emovo", "EMOVO/f1/dis-f1-b4.wav"),
        ("iemocap", "Session1/sentences/wav/Ses01F_impro01/Ses06F_impro01_F000.wav"),
    ],
)
def test_what_only_looks_like_an_official_name_is_reported(name: str, file: str, tmp_path: Path) -> None:
    put(name, tmp_path)
    touch(tmp_path, [file])
    (warning,) = opened(name, tmp_path).warnings
    assert re.search(rf"1 file not read, no \S+ name \(such as {re.escape(Path(file).name)}\)", warning)


@pytest.mark.parametrize("outer", ["", "Audio_Speech_Actors_01-24/"])
@pytest.mark.parametrize("folder", ["ravdess", "RAVDESS", "."])
def test_ravdess_is_complete_with_and_without_its_outer_folder(folder: str, outer: str, tmp_path: Path) -> None:
    touch(tmp_path / folder, [outer + name for name in RAVDESS])
    corpus = opened("ravdess", tmp_path)
    assert corpus.folder == tmp_path / folder
    assert corpus.warnings == ()
    assert emotions(corpus) == {emotion: 96 if emotion == "neutral" else 192 for emotion in EMOTIONS[:8]}
    sexes = {(clip.speaker, clip.sex) for clip in corpus.clips}
    assert Counter(sex for _, sex in sexes) == {"female": 12, "male": 12}


def test_ravdess_songs_and_videos_are_counted_and_not_read(tmp_path: Path) -> None:
    songs = [f"Actor_{stem[-2:]}/{stem}.wav" for stem in ravdess_names(actors=[1, 2], channel="02")[:7]]
    videos = [f"Actor_01/0{m}-01-0{e}-01-01-01-01.mp4" for m in (1, 2) for e in (2, 3, 4)]
    touch(tmp_path, [*RAVDESS, *songs, *videos, "Actor_03/take two.wav"])
    corpus = opened("ravdess", tmp_path)
    assert len(corpus.clips) == 1440
    assert len(corpus.warnings) == 3
    for pattern in (r"\b7 files not read, song", r"\b6 files not read, video", r"\b1 file not read, no RAVDESS name"):
        assert sum(bool(re.search(pattern, warning)) for warning in corpus.warnings) == 1, pattern


def test_missing_clips_are_reported_by_speaker_and_by_emotion(tmp_path: Path) -> None:
    missing = {"Actor_05/03-01-08-02-02-02-05.wav", "Actor_05/03-01-08-02-02-01-05.wav"}
    touch(tmp_path, [name for name in RAVDESS if name not in missing])
    (warning,) = opened("ravdess", tmp_path).warnings
    for expected in ("1438 of 1440", "ravdess-05 58 of 60", "surprised 190 of 192"):
        assert expected in warning
    assert "angry" not in warning


def test_the_order_of_clips_is_not_that_of_their_folders(tmp_path: Path) -> None:
    touch(tmp_path / "by_actor", RAVDESS[:240])
    touch(tmp_path / "flat", [Path(name).name for name in RAVDESS[:240]])
    by_actor, flat = ([clip.id for clip in opened("ravdess", tmp_path / f).clips] for f in ("by_actor", "flat"))
    assert by_actor == flat


def test_savee_clips_are_the_same_in_both_layouts(tmp_path: Path) -> None:
    seen = []
    for layout, files in SAVEE_LAYOUTS.items():
        touch(tmp_path / layout / "savee", files)
        corpus = opened("savee", tmp_path / layout)
        assert corpus.warnings == ()
        seen.append([(c.id, c.speaker, c.emotion, c.sentence) for c in corpus.clips])
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 480


def test_both_savee_layouts_together_are_read_once(tmp_path: Path) -> None:
    touch(tmp_path / "savee", [*SAVEE_LAYOUTS["flat"], *SAVEE_LAYOUTS["nested"]])
    corpus = opened("savee", tmp_path)
    assert len(corpus.clips) == 480
    assert len(corpus.warnings) == 1
    assert "480 files not read, second copies" in corpus.warnings[0]


def test_savee_codes_are_read_as_its_paper_says(tmp_path: Path) -> None:
    codes = {"a": "angry", "d": "disgust", "f": "fearful", "h": "happy", "n": "neutral"}
    codes |= {"sa": "sad", "su": "surprised"}
    touch(tmp_path, [f"ALL/KL_{code}07.WAV" for code in codes])
    assert {clip.id: clip.emotion for clip in opened("savee", tmp_path).clips} == {
        f"KL_{code}07": emotion for code, emotion in codes.items()
    }


def test_a_missing_savee_speaker_and_its_videos_are_reported(tmp_path: Path) -> None:
    files = [f for f in SAVEE_LAYOUTS["nested"] if "/JK/" not in f]
    touch(tmp_path / "savee", [*files, "AudioVisualClip/DC/a01.avi"])
    videos, short = opened("savee", tmp_path).warnings
    assert "1 file not read, video" in videos
    assert "360 of 480" in short
    assert "savee-JK 0 of 120" in short
    assert "savee-DC" not in short


def test_crema_d_has_48_men_and_43_women(tmp_path: Path) -> None:
    """As its paper says; levels are given for one sentence."""
    put("crema_d", tmp_path)
    clips = opened("crema_d", tmp_path).clips
    assert Counter(sex for _, sex in {(clip.speaker, clip.sex) for clip in clips}) == {"male": 48, "female": 43}
    assert Counter(clip.intensity for clip in clips) == {"": 6077, "low": 455, "medium": 455, "high": 455}
    assert {clip.sentence for clip in clips if clip.intensity} == {"IEO"}
    assert len({clip.sentence for clip in clips}) == 12


def test_tess_says_200_words_in_each_emotion_of_both_women(tmp_path: Path) -> None:
    put("tess", tmp_path)
    clips = opened("tess", tmp_path).clips
    assert set(Counter((clip.speaker, clip.emotion) for clip in clips).values()) == {200}
    assert set(Counter(clip.sentence for clip in clips).values()) == {14}


def test_emodb_has_its_published_counts(tmp_path: Path) -> None:
    put("emodb", tmp_path)
    corpus = opened("emodb", tmp_path)
    published = {"angry": 127, "bored": 81, "disgust": 46, "fearful": 69, "happy": 71, "sad": 62, "neutral": 79}
    assert emotions(corpus) == published
    assert Counter(sex for _, sex in {(c.speaker, c.sex) for c in corpus.clips}) == {"male": 5, "female": 5}


def test_emovo_takes_p1_for_a_sentence_too(tmp_path: Path) -> None:
    put("emovo", tmp_path, [file.replace("-d2", "-p1") for file in FILES["emovo"]])
    corpus = opened("emovo", tmp_path)
    assert corpus.warnings == ()
    assert {clip.sentence for clip in corpus.clips} == {*EMOVO_SENTENCES, "p1"} - {"d2"}


def test_an_iemocap_utterance_is_read_with_its_label(tmp_path: Path) -> None:
    """The letter behind the utterance is the speaker's; scripts tell what words may be shared, improvisations do not."""
    put("iemocap", tmp_path)
    clips = {clip.id: clip for clip in opened("iemocap", tmp_path).clips}
    assert [getattr(clips["Ses01F_impro01_M002"], f) for f in TOLD[:4]] == ["iemocap-Ses01M", "male", "happy", ""]
    assert [getattr(clips["Ses04M_script01_1_F003"], f) for f in TOLD[:4]] == [
        *("iemocap-Ses04F", "female", "sad", "script01_1")
    ]
    assert len({clip.speaker for clip in clips.values()}) == 10


@pytest.mark.parametrize(
    ("emotions_", "expected"),
    [
        ("four", {"neutral": 20, "happy": 40, "sad": 20, "angry": 20}),
        ("six", {"neutral": 20, "happy": 20, "excited": 20, "sad": 20, "angry": 20}),
    ],
)
def test_iemocap_merges_excited_into_happy_unless_six_are_asked_for(
    emotions_: str, expected: dict[str, int], tmp_path: Path
) -> None:
    put("iemocap", tmp_path)
    corpus = opened("iemocap", tmp_path, emotions=emotions_)
    assert emotions(corpus) == expected
    assert corpus.warnings == ()


def test_iemocap_counts_what_it_leaves_out(tmp_path: Path) -> None:
    put("iemocap", tmp_path)
    write(tmp_path, iemocap_texts(("neu", "fru", "sur", "xxx", "oth")))
    four, six = (opened("iemocap", tmp_path, emotions=emotions_) for emotions_ in ("four", "six"))
    assert emotions(four) == {"neutral": 20}
    assert emotions(six) == {"neutral": 20, "frustrated": 20}
    assert "40 files not read, an emotion that `emotions=four` leaves out" in four.warnings[0]
    assert "20 files not read, an emotion that `emotions=six` leaves out" in six.warnings[0]
    assert all("40 files not read, no emotion that most raters agreed on" in c.warnings[1] for c in (four, six))


def test_iemocap_part_keeps_one_kind_of_dialogue(tmp_path: Path) -> None:
    put("iemocap", tmp_path)
    improvised, scripted = (opened("iemocap", tmp_path, part=part) for part in ("improvised", "scripted"))
    assert len(improvised.clips) == len(scripted.clips) == 50
    assert all("_impro" in clip.id for clip in improvised.clips)
    assert all("_script" in clip.id for clip in scripted.clips)
    assert improvised.warnings == scripted.warnings == ()


def test_iemocap_without_its_labels_is_reported(tmp_path: Path) -> None:
    touch(tmp_path, FILES["iemocap"])
    with pytest.raises(Exception, match=r"100 files not read, no label in dialog/EmoEvaluation"):
        opened("iemocap", tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "reason"),
    [
        ("ravdess", "03-01-06-01-02-01-12_noise.wav", "copies, an official RAVDESS name with something added to it"),
        ("ravdess", "03-01-06-01-02-01-12 (1).wav", "copies, an official RAVDESS name with something added to it"),
        ("ravdess", "03-01-06-01-02-01-25.wav", "no RAVDESS name"),
        ("savee", "DC_a01_noise.wav", "copies, an official SAVEE name with something added to it"),
    ],
)
def test_additions_in_a_flat_folder_are_counted(name: str, file: str, reason: str, tmp_path: Path) -> None:
    touch(tmp_path / "flat", [*FILES[name], file])
    (warning,) = [w for w in opened(name, tmp_path / "flat").warnings if "not read" in w]
    assert f"1 file not read, {reason}" in warning and file in warning


def test_a_corpus_of_git_lfs_pointers_says_what_to_do(tmp_path: Path) -> None:
    for file in FILES["crema_d"]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(
        UserError, match="is a git-lfs pointer and not a sound; install git-lfs and run `git lfs pull`"
    ):
        opened("crema_d", tmp_path)
