"""What every corpus that is read from files must do, from its official names."""

import itertools
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from corpus_files import COUNTS, FILES, SHARED, TEXTS, fields, opened, put, some, touch, write

from emotion_lightning.config import parts
from emotion_lightning.corpora import EMOTIONS, Refused
from emotion_lightning.errors import UserError

FOUND_ON_DISK = [name for name in parts.names("corpora") if name != "demo"]  # demo makes its own files
BY_NAME = [name for name in FOUND_ON_DISK if name != "table"]  # a table says itself which files are clips

each_corpus = pytest.mark.parametrize("name", FOUND_ON_DISK)
each_by_name = pytest.mark.parametrize("name", BY_NAME)


def test_every_corpus_has_its_official_names_here() -> None:
    assert set(FILES) == set(COUNTS) == set(FOUND_ON_DISK)


def test_new_emotions_come_last() -> None:
    """The place of an emotion is its class id."""
    assert EMOTIONS[:8] == ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
    assert len(set(EMOTIONS)) == len(EMOTIONS)


@each_corpus
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


@each_corpus
def test_a_missing_corpus_says_what_to_do(name: str, tmp_path: Path) -> None:
    for data_dir in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(UserError) as error:
            opened(name, data_dir)
        assert f"`make data CORPUS={name}`" in str(error.value)
        assert "`make train EXP=demo`" in str(error.value)
        assert "\n" not in str(error.value)


@each_corpus
def test_a_corpus_takes_no_file_of_another_name(name: str, tmp_path: Path) -> None:
    folders = ("", "Actor_01/", "ALL/", "AudioWAV/", "OAF_Fear/", "wav/", "f1/", "Ses01F_impro01/")
    touch(tmp_path, ["notes.txt", *(f"{folder}holiday.flac" for folder in folders)])
    items = list(parts.entry("corpora", name)(tmp_path))
    assert all(isinstance(item, Refused) and item.reason for item in items)
    assert len(items) == (name != "table")  # in its own folder it is fields, in the others it is not this corpus's


@each_corpus
@pytest.mark.parametrize("folder", ["{name}", "."])
def test_a_complete_corpus_has_nothing_to_warn_of(name: str, folder: str, tmp_path: Path) -> None:
    put(name, tmp_path / folder.format(name=name))
    corpus = opened(name, tmp_path)
    assert corpus.warnings == ()
    assert len(corpus.clips) == len({clip.id for clip in corpus.clips}) == COUNTS[name]
    assert {clip.corpus for clip in corpus.clips} == {name}
    assert all(clip.speaker.startswith(f"{name}-") and clip.emotion in EMOTIONS for clip in corpus.clips)
    assert all(clip.sex in ("female", "male") for clip in corpus.clips if name != "table")
    if corpus.about.official:
        assert Counter((clip.speaker, clip.emotion) for clip in corpus.clips) == Counter(corpus.about.official)


@each_corpus
def test_the_official_file_names_give_the_official_counts(name: str, tmp_path: Path) -> None:
    """Against the published list of each corpus's files, not against a list of ours."""
    if not (listing := SHARED / "checksums" / f"{name}.sha256").is_file():
        pytest.skip(f"no list of the official files of {name} at {listing}")
    names = [line.split(maxsplit=1)[1] for line in listing.read_text().splitlines()]
    assert sorted(FILES[name]) == sorted(names)
    touch(tmp_path / name, names)
    corpus = opened(name, tmp_path)
    assert corpus.warnings == ()
    assert len(corpus.clips) == len(names) == sum(corpus.about.official.values())
    assert Counter((clip.speaker, clip.emotion) for clip in corpus.clips) == Counter(corpus.about.official)
    assert {clip.path.relative_to(tmp_path / name).as_posix() for clip in corpus.clips} == set(names)


@pytest.mark.real
@pytest.mark.parametrize("name", ["ravdess", "savee"])
def test_the_real_corpora_are_complete(name: str) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"no real {name} at {SHARED / name}")
    corpus = opened(name, SHARED)
    assert len(corpus.clips) == COUNTS[name]
    assert corpus.warnings == ()


@each_by_name
def test_missing_clips_are_reported_with_their_speaker(name: str, tmp_path: Path) -> None:
    """Two of one speaker are away; nobody else is named."""
    put(name, tmp_path)
    clips = opened(name, tmp_path).clips
    speaker = clips[len(clips) // 2].speaker
    for clip in [clip for clip in clips if clip.speaker == speaker][:2]:
        clip.path.unlink()
    (warning,) = opened(name, tmp_path).warnings
    assert speaker in warning
    assert not any(clip.speaker in warning for clip in clips if clip.speaker != speaker)
    assert (f"{len(clips) - 2} of {len(clips)}" if name != "iemocap" else "2 files not read") in warning


@each_corpus
def test_the_order_of_clips_is_not_that_of_their_making(name: str, tmp_path: Path) -> None:
    orders = []
    for seed in range(3):
        shuffled = random.Random(seed).sample(some(name), len(some(name)))
        write(tmp_path / str(seed), TEXTS.get(name, {}))
        touch(tmp_path / str(seed), shuffled)
        if name == "table":
            rows = [f"{file},sad,{Path(file).stem[:3]}" for file in shuffled]
            write(tmp_path / str(seed), {"table.csv": "\n".join(["path,emotion,speaker", *rows])})
        orders.append([(clip.speaker, clip.id) for clip in opened(name, tmp_path / str(seed)).clips])
    assert orders[0] == orders[1] == orders[2] == sorted(orders[0])
    assert len(orders[0]) == len(some(name))


@each_by_name
def test_clips_are_the_same_in_every_format_and_folder(name: str, tmp_path: Path) -> None:
    """Formats; an archive's own folder, once and twice, as zips unpack; folders in other letters."""
    layouts = {suffix: [str(Path(f).with_suffix(suffix)) for f in some(name)] for suffix in (".wav", ".WAV", ".flac")}
    layouts |= {outer: [f"{outer}/{f}" for f in some(name)] for outer in ("my data", "Some set/Some set")}
    for letters in (str.lower, str.upper):
        changed = [f"{letters(str(Path(f).parent))}/{Path(f).name}" for f in some(name)]
        layouts[letters.__name__] = changed if name != "iemocap" else layouts[".wav"]  # dialogues are file names, too
    seen = []
    for layout, files in layouts.items():
        write(tmp_path / layout, TEXTS.get(name, {}))
        touch(tmp_path / layout, files)
        seen.append([fields(clip) for clip in opened(name, tmp_path / layout).clips])
    assert len(seen[0]) == len(some(name))
    assert all(clips == seen[0] for clips in seen)


@each_by_name
def test_doubled_files_are_read_once_with_one_warning(name: str, tmp_path: Path) -> None:
    """Like some mirrors: all folders, and a second copy of them in an outer folder."""
    put(name, tmp_path / name, [f for file in some(name) for f in (file, f"{name} data/{file}")])
    corpus = opened(name, tmp_path)
    assert len(corpus.clips) == len({clip.id for clip in corpus.clips}) == len(some(name))
    (warning,) = (w for w in corpus.warnings if "not read" in w and "labelled but missing" not in w)
    assert f"{len(some(name))} files not read, second copies" in warning


@each_by_name
def test_trimmed_and_augmented_copies_are_counted_and_not_read(name: str, tmp_path: Path) -> None:
    changes = ("_noise", "_aug", "_pitch", "_stretch", "_trim", "_16k", " (1)", "(1)", " - Copy", " copy", "-2")
    put(name, tmp_path / name)
    before = opened(name, tmp_path).clips
    copied = [clip.path for clip in before[:: len(before) // 3]]
    copies = [p.with_stem(p.stem + change) for p in copied for change in changes]
    copies += [p.with_stem(f"noisy_{p.stem}") for p in copied]
    touch(tmp_path, [str(copy.relative_to(tmp_path)) for copy in copies])
    corpus = opened(name, tmp_path)
    assert corpus.clips == before
    (warning,) = corpus.warnings
    assert f"{name}: {len(copies)} files not read" in warning
    assert any(copy.name in warning for copy in copies)


@each_by_name
def test_videos_are_counted_and_not_read(name: str, tmp_path: Path) -> None:
    put(name, tmp_path / name)
    videos = [str(Path(f"videos/{Path(file).name}").with_suffix(".mp4")) for file in some(name)[:5]]
    touch(tmp_path / name, videos)
    (warning,) = opened(name, tmp_path).warnings
    assert re.search(r"\b5 files not read, video", warning)


@each_corpus
def test_hidden_files_of_a_mac_are_no_clips(name: str, tmp_path: Path) -> None:
    put(name, tmp_path)
    hidden = [f"__MACOSX/{Path(f).parent}/._{Path(f).name}" for f in some(name)]
    touch(tmp_path, [*hidden, *(f"{Path(f).parent}/._{Path(f).name}" for f in some(name)), ".Trash/" + some(name)[0]])
    corpus = opened(name, tmp_path)
    assert len(corpus.clips) == COUNTS[name]
    assert corpus.warnings == ()


@pytest.mark.parametrize(("name", "other"), itertools.permutations(FOUND_ON_DISK, 2))
def test_the_folder_of_another_corpus_is_reported_in_one_line(name: str, other: str, tmp_path: Path) -> None:
    put(other, tmp_path / name / "Some set", some(other))
    with pytest.raises(UserError) as error:
        opened(name, tmp_path)
    assert f"`make data CORPUS={name}`" in str(error.value)
    assert "\n" not in str(error.value)


def test_all_corpora_in_one_folder_are_kept_apart(tmp_path: Path) -> None:
    for name in FOUND_ON_DISK:
        put(name, tmp_path)
    for name in FOUND_ON_DISK:
        corpus = opened(name, tmp_path)
        assert (name, len(corpus.clips), corpus.warnings) == (name, COUNTS[name], ())


@pytest.mark.parametrize("name", [name for name in BY_NAME if name != "iemocap"])
def test_what_the_names_tell_is_enough_to_tell_clips_apart(name: str, tmp_path: Path) -> None:
    put(name, tmp_path)
    kinds = Counter(fields(clip)[1:] for clip in opened(name, tmp_path).clips)
    assert max(kinds.values()) == 1
