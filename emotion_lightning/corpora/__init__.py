"""Corpora: one file each, that knows the official names, labels, counts, licence and source of one corpus.

`read(folder)` yields a `Clip` for each file whose name is the corpus's own, and a `Refused` for an audio or video
file that must not be taken for one. What all corpora share stands here: finding the files, second copies of a clip,
counts that fall short, the one emotion vocabulary.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from emotion_lightning.config import parts
from emotion_lightning.errors import NotThere, UserError, nearest

EMOTIONS = (
    *("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised"),  # RAVDESS's and DeepEmoNet's
    *("bored", "excited", "frustrated"),
)
"""The vocabulary that every corpus's labels are mapped onto; the order is that of class ids, so new ones go to the end."""

AUDIO = {".wav", ".flac"}  # as corpora are published
DECODED = AUDIO | {".ogg", ".mp3", ".aiff", ".au"}  # what libsndfile reads and people have
VIDEO = {".mp4", ".avi", ".mov", ".mpg"}


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording of one utterance. Text fields are empty where the corpus's names do not tell."""

    id: str  # unique in its corpus, the same in every layout and file format of it
    path: Path
    corpus: str
    emotion: str  # one of EMOTIONS
    speaker: str  # unique over all corpora: "ravdess-07"
    sex: str = ""  # "female" or "male"
    sentence: str = ""  # equal where the words are equal, within a corpus
    intensity: str = ""
    take: str = ""
    content: str = ""  # digest of the decoded audio, filled in from the cache
    variant: str = ""  # what an augmentation of stage `rows` made of it ("noise"); "" is the clip as recorded


@dataclass(frozen=True, slots=True)
class Refused:
    """A media file below the corpus's folder that is not one of its clips, and why."""

    path: Path
    why: str


@dataclass(frozen=True)
class Archive:
    """An official download: `url` of a zip with `md5` and `size` in bytes."""

    url: str
    md5: str
    size: int


@dataclass(frozen=True)
class About:
    """What a corpus says of itself; `official` counts clips by (speaker, emotion)."""

    title: str
    licence: str
    citation: str
    how_to_get: str
    official: Mapping[tuple[str, str], int] = field(default_factory=dict)
    archive: Archive | None = None


@dataclass(frozen=True)
class Corpus:
    """A corpus as found on disk: its clips in an order that no file system or locale changes, and what to warn of."""

    name: str
    about: About
    folder: Path
    clips: tuple[Clip, ...]
    warnings: tuple[str, ...]


def media_files(folder: Path, suffixes: Set[str] = AUDIO | VIDEO) -> Iterator[Path]:
    """Files below a folder with one of the suffixes, in order of their names; hidden ones left out, links followed."""
    found, seen = [], set[str]()
    for root, folders, files in os.walk(folder, followlinks=True):  # rglob follows no links before Python 3.13
        folders[:] = [f for f in folders if not f.startswith(".")]
        if (real := os.path.realpath(root)) in seen:  # a link back up would never end
            folders.clear()
            continue
        seen.add(real)
        found += [Path(root, f) for f in files if not f.startswith(".") and Path(f).suffix.lower() in suffixes]
    yield from sorted((path for path in found if path.is_file()), key=lambda p: p.as_posix())


def misnamed(path: Path, official: re.Pattern[str], title: str, at_home: bool) -> Iterator[Refused]:
    """For a file whose whole name is not official: refused where an official name stands in it, or where its folder is
    the corpus's own (`at_home`). Other files are another corpus's, and nothing is said of them."""
    if official.search(path.stem):
        yield Refused(path, f"copies, a {title} name with something added to it")
    elif at_home:
        yield Refused(path, f"no {title} name")


def open_corpus(name: str, args: dict[str, Any], data_dir: Path, cache_dir: Path) -> Corpus:
    """Reads one corpus from `data_dir/<name>`, else from `data_dir` itself, unless its `prepare` makes the files."""
    module = parts.load("corpora", name)
    if hasattr(module, "prepare"):
        folder = module.prepare(cache_dir, **args)
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
            refused.append(Refused(item.path, "second copies of a clip that was read already"))
        else:
            clips[item.id] = item
    if not clips:
        raise NotThere("; ".join([_missing(name, module.ABOUT, data_dir), *_refusals(name, refused)]))
    ordered = tuple(sorted(clips.values(), key=lambda c: (c.speaker, c.id)))
    warnings = (*_refusals(name, refused), *_shortfalls(name, module.ABOUT, ordered))
    return Corpus(name, module.ABOUT, folder, ordered, warnings)


def relabelled(clips: Mapping[int, Clip], emotions: Mapping[str, str | Literal[False]]) -> Iterator[tuple[int, Clip]]:
    """The clips with labels taken for another ({"calm": "neutral"}), without those that are left out ({"bored": False})."""
    for name in (*emotions, *(to for to in emotions.values() if to)):
        if name not in EMOTIONS:
            raise UserError(f"emotions: no emotion '{name}'{nearest(name, EMOTIONS)}")
    for number, clip in clips.items():
        if emotion := emotions.get(clip.emotion, clip.emotion):
            yield number, clip if emotion == clip.emotion else replace(clip, emotion=emotion)


def classes(clips: Iterable[Clip]) -> tuple[str, ...]:
    """The emotions that occur, in the order of the vocabulary."""
    present = {clip.emotion for clip in clips}
    return tuple(emotion for emotion in EMOTIONS if emotion in present)


def _missing(name: str, about: About, data_dir: Path) -> str:
    offer = f"`make data CORPUS={name}` " + ("downloads it" if about.archive else "tells how to get it")
    return (
        f"no clip of {about.title} under '{data_dir / name}' or '{data_dir}': {offer}, "
        f"DATA=<folder> names another place, and `make train EXP=demo` needs no data"
    )


def _refusals(name: str, refused: list[Refused]) -> Iterator[str]:
    for why, count in sorted(Counter(r.why for r in refused).items()):
        example = next(r.path.name for r in refused if r.why == why)
        yield f"{name}: {count} file{'s' * (count > 1)} not read, {why} (such as {example})"


def _shortfalls(name: str, about: About, clips: tuple[Clip, ...]) -> Iterator[str]:
    """One line for a corpus with fewer or more clips than the official ones, naming the speakers or the emotions."""
    found = Counter((c.speaker, c.emotion) for c in clips)
    if not about.official or found == Counter(about.official):
        return
    short = []
    for index, what in ((0, "speakers"), (1, "emotions")):
        have, want = _totals(found, index), _totals(about.official, index)
        off = [f"{k} {have[k]} of {want[k]}" for k in sorted(want | have) if have[k] != want[k]]
        if off:
            short.append(f"{what} {', '.join(off[:6])}" + (f" and {len(off) - 6} more" if len(off) > 6 else ""))
    yield f"{name}: {len(clips)} of {sum(about.official.values())} official clips; {'; '.join(short)}"


def _totals(counts: Mapping[tuple[str, str], int], index: int) -> Counter[str]:
    """Counts by (speaker, emotion) → counts by the one or the other."""
    total = Counter[str]()
    for key, count in counts.items():
        total[key[index]] += count
    return total
