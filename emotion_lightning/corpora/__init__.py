"""Corpora: one file each, with the official file names, labels, counts, licence and source of one corpus.

`read(folder)` yields a `Clip` for each file with an official name, and a `Refused` for an audio or video file that must not
be used. This module has the shared part: it finds files, removes duplicate clips, compares counts with the official ones,
and defines the emotions.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from emotion_lightning.config import parts
from emotion_lightning.errors import MissingCorpus, UserError, cannot_write_cache, nearest

EMOTIONS = (
    *("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"),  # RAVDESS's and DeepEmoNet's
    *("bored", "excited", "frustrated"),
)
"""The emotions that the labels of every corpus are mapped to. The order is that of class ids, so append new ones."""

AUDIO = {".wav", ".flac"}  # the formats of published corpora
DECODED = AUDIO | {".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".caf", ".w64"}
"""The formats of a user's own clips, all read by libsndfile."""
VIDEO = {".mp4", ".avi", ".mov", ".mpg"}


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording of one utterance. A text field is empty if the corpus does not give it."""

    id: str  # unique in its corpus, the same in every layout and file format of it
    path: Path
    corpus: str
    emotion: str  # one of EMOTIONS
    speaker: str  # unique over all corpora: "ravdess-07"
    sex: str = ""  # "female" or "male"
    sentence: str = ""  # equal for equal words, within a corpus
    intensity: str = ""
    take: str = ""
    content: str = ""  # digest of the decoded audio, from the cache
    variant: str = ""  # kind of a row that an offline augmentation made ("noise"); "" is the clip as recorded


@dataclass(frozen=True, slots=True)
class Refused:
    """A media file in the corpus's folder that is not used as a clip, with the reason."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Archive:
    """An official zip file: its `url`, `md5`, and `size` in bytes."""

    url: str
    md5: str
    size: int


@dataclass(frozen=True)
class About:
    """Facts about a corpus. `official` is the official number of clips by (speaker, emotion)."""

    title: str
    licence: str
    citation: str
    how_to_get: str  # {folder} stands for its folder below data.dir
    official: Mapping[tuple[str, str], int] = field(default_factory=dict)
    archive: Archive | None = None


@dataclass(frozen=True)
class Corpus:
    """A corpus on disk, with warnings. The order of its clips does not depend on the file system or the locale."""

    name: str
    about: About
    folder: Path
    clips: tuple[Clip, ...]
    warnings: tuple[str, ...]


def media_files(folder: Path, suffixes: Set[str] = AUDIO | VIDEO) -> Iterator[Path]:
    """Yields the files in a folder and its subfolders with one of the suffixes, sorted by path.

    Hidden files and folders are skipped, and links are followed.
    """
    paths, visited = [], set[str]()
    for root, folders, files in os.walk(folder, followlinks=True):  # rglob follows no links before Python 3.13
        folders[:] = [f for f in folders if not f.startswith(".")]
        if (real := os.path.realpath(root)) in visited:  # a link to a parent folder would never end
            folders.clear()
            continue
        visited.add(real)
        paths += [Path(root, f) for f in files if not f.startswith(".") and Path(f).suffix.lower() in suffixes]
    yield from sorted((path for path in paths if path.is_file()), key=lambda p: p.as_posix())


def misnamed(path: Path, official: re.Pattern[str], title: str, in_own_folder: bool) -> Iterator[Refused]:
    """Refuses a file without an official name if its name contains one, or if its folder belongs to the corpus.

    Other files belong to another corpus, and nothing is reported about them.
    """
    if official.search(path.stem):
        yield Refused(path, f"copies, an official {title} name with something added to it")
    elif in_own_folder:
        yield Refused(path, f"no {title} name")


def open_corpus(name: str, args: dict[str, Any], data_dir: Path, cache_dir: Path) -> Corpus:
    """Reads a corpus from `data_dir/<name>`, or from `data_dir` if this has no clips. A `prepare` function makes the files.

    Raises:
        MissingCorpus: there is no clip.
    """
    module = parts.load("corpora", name)
    if hasattr(module, "prepare"):
        try:
            folder = module.prepare(cache_dir, **args)
        except OSError as error:
            raise UserError(cannot_write_cache(cache_dir, error)) from error
    else:
        named = sorted(
            (d for d in data_dir.glob("*") if d.name.lower() == name), key=lambda d: (d.name != name, d.name)
        )
        folder = next((d for d in named if any(media_files(d))), data_dir)
    clips: dict[str, Clip] = {}
    refused: list[Refused] = []
    for item in parts.entry("corpora", name)(folder, **args):
        if isinstance(item, Refused):
            refused.append(item)
        elif item.id in clips:
            refused.append(Refused(item.path, "second copies of a clip"))
        else:
            clips[item.id] = item
    if not clips:
        raise MissingCorpus("; ".join([_missing(name, module.ABOUT, data_dir), *_refusals(name, refused)]))
    ordered = tuple(sorted(clips.values(), key=lambda c: (c.speaker, c.id)))
    if is_git_lfs_pointer(ordered[0].path):
        raise UserError(
            f"{name}: '{ordered[0].path}' is a git-lfs pointer and not a sound; install git-lfs and run `git lfs pull` in the "
            "folder of the corpus"
        )
    warnings = (*_refusals(name, refused), *_shortfalls(name, module.ABOUT, ordered))
    return Corpus(name, module.ABOUT, folder, ordered, warnings)


def is_git_lfs_pointer(path: Path) -> bool:
    """Returns whether a file is the small text that git puts in the place of a large file which it has not fetched."""
    try:
        with path.open("rb") as file:
            return file.read(24) == b"version https://git-lfs."
    except OSError:  # decoding the file will report the reason
        return False


def relabel(clips: Mapping[int, Clip], emotions: Mapping[str, str | Literal[False]]) -> Iterator[tuple[int, Clip]]:
    """Replaces emotions ({"calm": "neutral"}), and removes the clips of others ({"bored": False}).

    Raises:
        UserError: there is no such emotion.
    """
    for name in (*emotions, *(to for to in emotions.values() if to)):
        if name not in EMOTIONS:
            raise UserError(f"emotions: no emotion '{name}'{nearest(name, EMOTIONS)}")
    for number, clip in clips.items():
        if emotion := emotions.get(clip.emotion, clip.emotion):
            yield number, clip if emotion == clip.emotion else replace(clip, emotion=emotion)


def classes(clips: Iterable[Clip]) -> tuple[str, ...]:
    """Returns the emotions of these clips, in the order of EMOTIONS."""
    present = {clip.emotion for clip in clips}
    return tuple(emotion for emotion in EMOTIONS if emotion in present)


def _missing(name: str, about: About, data_dir: Path) -> str:
    offer = f"`make data CORPUS={name}` " + ("downloads it" if about.archive else "says how to get it")
    if not data_dir.is_dir():
        fault = f"the folder '{data_dir}' does not exist, so there is no clip of {about.title}"
    else:
        fault = f"no clip of {about.title} in '{data_dir / name}' or '{data_dir}'"
    return (
        f"{fault}: {offer}, DATA=<folder> names another folder, "
        f'SET="corpora.{name}=off" goes without it, and `make train EXP=demo` needs no data'
    )


def _refusals(name: str, refused: list[Refused]) -> Iterator[str]:
    for reason, count in sorted(Counter(r.reason for r in refused).items()):
        example = next(r.path.name for r in refused if r.reason == reason)
        yield f"{name}: {count} file{'s' if count > 1 else ''} not read, {reason} (such as {example})"


def _shortfalls(name: str, about: About, clips: tuple[Clip, ...]) -> Iterator[str]:
    """Yields one line if the numbers of clips are not the official ones, with the speakers and emotions that differ."""
    found = Counter((c.speaker, c.emotion) for c in clips)
    if not about.official or found == Counter(about.official):
        return
    differences = []
    for index, kind in ((0, "speakers"), (1, "emotions")):
        have, want = _totals(found, index), _totals(about.official, index)
        differ = [f"{k} {have[k]} of {want[k]}" for k in sorted(want | have) if have[k] != want[k]]
        if differ:
            more = f" and {len(differ) - 6} more" if len(differ) > 6 else ""
            differences.append(f"{kind} {', '.join(differ[:6])}{more}")
    yield f"{name}: {len(clips)} of {sum(about.official.values())} official clips; {'; '.join(differences)}"


def _totals(counts: Mapping[tuple[str, str], int], index: int) -> Counter[str]:
    """Sums counts by (speaker, emotion) over one of the two."""
    total = Counter[str]()
    for key, count in counts.items():
        total[key[index]] += count
    return total
