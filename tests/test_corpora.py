"""Corpora from files under their official names. Empty files do: only names are read."""

import itertools
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from emotion_lightning import parts
from emotion_lightning.corpora import EMOTIONS, Corpus, Refused, open_corpus
from emotion_lightning.errors import UserError

SHARED = Path(__file__).parents[2] / "shared" / "corpora"
FOUND_ON_DISK = [name for name in parts.names("corpora") if name != "demo"]  # demo makes its own files


def ravdess_names(actors: Iterable[int] = range(1, 25), channel: str = "01") -> list[str]:
    """Stems of RAVDESS, written down from the paper: neutral is never strong."""
    return [
        f"03-{channel}-{emotion:02}-{intensity:02}-{sentence:02}-{take:02}-{actor:02}"
        for actor in actors
        for emotion, intensity, sentence, take in itertools.product(range(1, 9), (1, 2), (1, 2), (1, 2))
        if not (emotion == 1 and intensity == 2)
    ]


RAVDESS = [f"Actor_{stem[-2:]}/{stem}.wav" for stem in ravdess_names()]
FOUR_ACTORS = RAVDESS[:240]  # where the count does not matter
SAVEE_NUMBERS = {"a": 15, "d": 15, "f": 15, "h": 15, "n": 30, "sa": 15, "su": 15}
SAVEE_STEMS = [f"{code}{n:02}" for code, most in SAVEE_NUMBERS.items() for n in range(1, most + 1)]
SAVEE = list(itertools.product(("DC", "JE", "JK", "KL"), SAVEE_STEMS))
SAVEE_LAYOUTS = {
    "flat": [f"ALL/{speaker}_{stem}.wav" for speaker, stem in SAVEE],
    "nested": [f"AudioData/{speaker}/{stem}.wav" for speaker, stem in SAVEE],
}


def touch(folder: Path, names: Sequence[str]) -> None:
    for parent in dict.fromkeys((folder / name).parent for name in names):
        parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()


def opened(name: str, data_dir: Path) -> Corpus:
    return open_corpus(name, {}, data_dir, data_dir / "cache")


def emotions(corpus: Corpus) -> Counter[str]:
    return Counter(clip.emotion for clip in corpus.clips)


@pytest.mark.parametrize("name", FOUND_ON_DISK)
def test_a_corpus_says_what_it_is(name: str) -> None:
    about = parts.load("corpora", name).ABOUT
    assert all((about.title, about.licence, about.citation, about.how_to_get))
    for (speaker, emotion), count in about.official.items():
        assert speaker.startswith(f"{name}-")
        assert emotion in EMOTIONS
        assert count > 0
    if about.archive:
        assert about.archive.url.startswith("https://")
        assert re.fullmatch("[0-9a-f]{32}", about.archive.md5)
        assert about.archive.size > 0
    parts.arguments("corpora", name)()  # every setting of it has a type and a default


@pytest.mark.parametrize("name", FOUND_ON_DISK)
def test_a_missing_corpus_says_what_to_do(name: str, tmp_path: Path) -> None:
    for data_dir in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(UserError) as error:
            opened(name, data_dir)
        assert f"`make data CORPUS={name}`" in str(error.value)
        assert "`make train EXP=demo`" in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", FOUND_ON_DISK)
def test_a_corpus_takes_no_file_of_another_name(name: str, tmp_path: Path) -> None:
    touch(tmp_path, ["notes.txt", "holiday.wav", "Actor_01/holiday.flac", "ALL/holiday.wav", "AudioWAV/holiday.wav"])
    items = list(parts.entry("corpora", name)(tmp_path))
    assert all(isinstance(item, Refused) and item.why for item in items)


@pytest.mark.parametrize("name", FOUND_ON_DISK)
def test_the_official_file_names_give_the_official_counts(name: str, tmp_path: Path) -> None:
    """Against the published list of each corpus's files, not against a list of ours."""
    if not (listing := SHARED / "checksums" / f"{name}.sha256").is_file():
        pytest.skip(f"no list of the official files of {name} at {listing}")
    names = [line.split(maxsplit=1)[1] for line in listing.read_text().splitlines()]
    touch(tmp_path / name, names)
    corpus = opened(name, tmp_path)
    assert corpus.warnings == ()
    assert len(corpus.clips) == len(names) == sum(corpus.about.official.values())
    assert Counter((clip.speaker, clip.emotion) for clip in corpus.clips) == Counter(corpus.about.official)
    assert {clip.path.relative_to(tmp_path / name).as_posix() for clip in corpus.clips} == set(names)
    assert {clip.corpus for clip in corpus.clips} == {name}
    assert all(clip.speaker.startswith(f"{name}-") for clip in corpus.clips)


@pytest.mark.parametrize(("name", "count"), [("ravdess", 1440), ("savee", 480)])
def test_the_real_corpora_are_complete(name: str, count: int) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"no real {name} at {SHARED / name}")
    corpus = opened(name, SHARED)
    assert len(corpus.clips) == count
    assert corpus.warnings == ()


@pytest.mark.parametrize("outer", ["", "Audio_Speech_Actors_01-24/"])
@pytest.mark.parametrize("folder", ["ravdess", "RAVDESS", "."])
def test_ravdess_is_complete_with_and_without_its_outer_folder(folder: str, outer: str, tmp_path: Path) -> None:
    touch(tmp_path / folder, [outer + name for name in RAVDESS])
    corpus = opened("ravdess", tmp_path)
    assert corpus.folder == tmp_path / folder
    assert corpus.warnings == ()
    assert emotions(corpus) == {emotion: 96 if emotion == "neutral" else 192 for emotion in EMOTIONS}
    sexes = {(clip.speaker, clip.sex) for clip in corpus.clips}
    assert len(sexes) == 24
    assert Counter(sex for _, sex in sexes) == {"female": 12, "male": 12}


def test_a_ravdess_name_is_read_as_its_paper_says(tmp_path: Path) -> None:
    """The example of the corpus's own page: 03-01-06-01-02-01-12."""
    touch(tmp_path, ["Actor_12/03-01-06-01-02-01-12.wav", "Actor_07/03-01-05-02-01-02-07.wav"])
    angry, fearful = opened("ravdess", tmp_path).clips
    told = ("speaker", "sex", "emotion", "intensity", "sentence", "take")
    assert [getattr(fearful, f) for f in told] == ["ravdess-12", "female", "fearful", "normal", "dogs", "01"]
    assert [getattr(angry, f) for f in told] == ["ravdess-07", "male", "angry", "strong", "kids", "02"]


def test_ravdess_in_every_format_has_the_same_ids(tmp_path: Path) -> None:
    ids = {}
    for suffix in (".wav", ".WAV", ".flac"):
        touch(tmp_path / suffix, [str(Path(name).with_suffix(suffix)) for name in FOUR_ACTORS])
        ids[suffix] = [clip.id for clip in opened("ravdess", tmp_path / suffix).clips]
    assert len(ids[".wav"]) == 240
    assert ids[".wav"] == ids[".WAV"] == ids[".flac"]


def test_ravdess_songs_and_videos_are_counted_and_not_read(tmp_path: Path) -> None:
    songs = [f"Actor_{stem[-2:]}/{stem}.wav" for stem in ravdess_names(actors=[1, 2], channel="02")[:7]]
    videos = [f"Actor_01/0{m}-01-0{e}-01-01-01-01.mp4" for m in (1, 2) for e in (2, 3, 4)]
    touch(tmp_path, [*RAVDESS, *songs, *videos, "Actor_03/take two.wav"])
    corpus = opened("ravdess", tmp_path)
    assert len(corpus.clips) == 1440
    assert len(corpus.warnings) == 3
    for pattern in (r"\b7 files not read, song", r"\b6 files not read, video", r"\b1 file not read, no RAVDESS name"):
        assert sum(bool(re.search(pattern, warning)) for warning in corpus.warnings) == 1, pattern


def test_a_doubled_ravdess_is_read_once_with_one_warning(tmp_path: Path) -> None:
    """As a much-used mirror packs it: the 24 folders, and beside them all 24 again in the outer folder."""
    touch(tmp_path / "ravdess", [*RAVDESS, *(f"audio_speech_actors_01-24/{name}" for name in RAVDESS)])
    corpus = opened("ravdess", tmp_path)
    assert len(corpus.clips) == len({clip.id for clip in corpus.clips}) == 1440
    assert emotions(corpus)["neutral"] == 96
    assert len(corpus.warnings) == 1
    assert "1440 files not read, second copies" in corpus.warnings[0]


def test_missing_ravdess_clips_are_told_with_their_speaker(tmp_path: Path) -> None:
    missing = {"Actor_05/03-01-08-02-02-02-05.wav", "Actor_05/03-01-08-02-02-01-05.wav"}
    touch(tmp_path, [name for name in RAVDESS if name not in missing])
    (warning,) = opened("ravdess", tmp_path).warnings
    for told in ("1438 of 1440", "ravdess-05 58 of 60", "surprised 190 of 192"):
        assert told in warning
    assert "ravdess-04" not in warning
    assert "angry" not in warning


def test_hidden_files_of_a_mac_are_no_clips(tmp_path: Path) -> None:
    twins = [f"__MACOSX/{name.replace('/', '/._')}" for name in FOUR_ACTORS]
    touch(tmp_path, [*FOUR_ACTORS, *twins, ".Trash/" + RAVDESS[-1]])
    corpus = opened("ravdess", tmp_path)
    assert len(corpus.clips) == 240
    assert not any("not read" in warning for warning in corpus.warnings)


@pytest.mark.parametrize("name", ["ravdess", "savee"])
def test_the_order_of_clips_is_not_that_of_their_making(name: str, tmp_path: Path) -> None:
    files = FOUR_ACTORS if name == "ravdess" else SAVEE_LAYOUTS["flat"]
    orders = []
    for seed in range(3):
        shuffled = random.Random(seed).sample(files, len(files))
        touch(tmp_path / str(seed), shuffled)
        orders.append([clip.id for clip in opened(name, tmp_path / str(seed)).clips])
    assert orders[0] == orders[1] == orders[2]
    assert [Path(f).stem for f in sorted(files)] == orders[0]  # by speaker, then by name


def test_the_order_of_clips_is_not_that_of_their_folders(tmp_path: Path) -> None:
    touch(tmp_path / "by_actor", FOUR_ACTORS)
    touch(tmp_path / "flat", [Path(name).name for name in FOUR_ACTORS])
    by_actor, flat = ([clip.id for clip in opened("ravdess", tmp_path / f).clips] for f in ("by_actor", "flat"))
    assert by_actor == flat


@pytest.mark.parametrize("layout", SAVEE_LAYOUTS)
def test_savee_is_complete_in_both_layouts(layout: str, tmp_path: Path) -> None:
    touch(tmp_path / "savee", SAVEE_LAYOUTS[layout])
    corpus = opened("savee", tmp_path)
    assert corpus.warnings == ()
    assert Counter(clip.speaker for clip in corpus.clips) == {f"savee-{s}": 120 for s in ("DC", "JE", "JK", "KL")}
    assert emotions(corpus) == {e: 120 if e == "neutral" else 60 for e in EMOTIONS if e != "calm"}
    assert {clip.sex for clip in corpus.clips} == {"male"}


def test_savee_clips_are_the_same_in_both_layouts(tmp_path: Path) -> None:
    seen = []
    for layout, files in SAVEE_LAYOUTS.items():
        touch(tmp_path / layout / "savee", files)
        seen.append([(c.id, c.speaker, c.emotion, c.sentence) for c in opened("savee", tmp_path / layout).clips])
    assert seen[0] == seen[1]
    assert len(set(seen[0])) == 480


def test_both_savee_layouts_side_by_side_are_read_once(tmp_path: Path) -> None:
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


def test_a_missing_savee_speaker_and_its_videos_are_told(tmp_path: Path) -> None:
    files = [f for f in SAVEE_LAYOUTS["nested"] if "/JK/" not in f]
    touch(tmp_path / "savee", [*files, "AudioVisualClip/DC/a01.avi"])
    videos, short = opened("savee", tmp_path).warnings
    assert "1 file not read, video" in videos
    assert "360 of 480" in short
    assert "savee-JK 0 of 120" in short
    assert "savee-DC" not in short


def test_two_corpora_in_one_folder_are_kept_apart(tmp_path: Path) -> None:
    touch(tmp_path, [*RAVDESS, *SAVEE_LAYOUTS["nested"]])
    for name, count in (("ravdess", 1440), ("savee", 480)):
        corpus = opened(name, tmp_path)
        assert (len(corpus.clips), corpus.warnings) == (count, ())
