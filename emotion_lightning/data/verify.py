"""`make data CORPUS=<name> VERIFY=1`: compares the files of a corpus with the official files, byte for byte.

corpora/checksums/<name>.sha256.xz has a line for each official file: the id of the clip and the first 16 hex digits of its
SHA-256. They detect accidents, not forgeries. Files are matched by clip id, so any folder layout can be verified that the
corpus file reads. All official files are WAV. A FLAC copy may have the same samples, but its bytes cannot be compared.
"""

import hashlib
import lzma
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.text import Text

from emotion_lightning import corpora
from emotion_lightning.corpora import Clip, Corpus, open_corpus
from emotion_lightning.errors import UserError

SUMS = Path(corpora.__file__).parent / "checksums"
DIGITS = 16
NAMED = 3  # files that a line of the report names


@dataclass(frozen=True)
class Verdict:
    """The file names of each outcome. For missing files, these are ids of clips."""

    official: Sequence[str] = ()
    differ: Sequence[str] = ()
    missing: Sequence[str] = ()
    other_format: Sequence[str] = ()
    unknown: Sequence[str] = ()  # read as a clip, but no official file has this name

    @property
    def is_official(self) -> bool:
        """Returns whether all files are official, and none is missing or additional."""
        return not (self.differ or self.missing or self.other_format or self.unknown)


def official_sums(name: str) -> dict[str, str]:
    """Returns the first digits of the SHA-256 of each official file, by clip id. Empty if no official sums are known."""
    if not (file := SUMS / f"{name}.sha256.xz").is_file():
        return {}
    return dict(line.split() for line in lzma.decompress(file.read_bytes()).decode().splitlines())


def compare(corpus: Corpus, sums: dict[str, str], console: Console) -> Verdict:
    """Hashes all files that can be compared, with one thread for each core, since hashing releases Python's lock."""
    known = [clip for clip in corpus.clips if clip.id in sums]
    waves = [clip for clip in known if clip.path.suffix.lower() == ".wav"]
    official: list[str] = []
    differ: list[str] = []
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        quiet = console.quiet or not console.is_terminal
        digests = track(
            pool.map(_digest, waves), "hashing", len(waves), console=console, transient=True, disable=quiet
        )
        for clip, digest in zip(waves, digests, strict=True):
            (official if digest == sums[clip.id] else differ).append(clip.path.name)
    return Verdict(
        official,
        differ,
        missing=sorted(sums.keys() - {clip.id for clip in known}),
        other_format=[clip.path.name for clip in known if clip.path.suffix.lower() != ".wav"],
        unknown=[clip.path.name for clip in corpus.clips if clip.id not in sums],
    )


def describe(title: str, verdict: Verdict, total: int) -> list[str]:
    """Returns the lines of the report: first the number of official files, then one line for each kind of difference."""
    lines = [f"{len(verdict.official)} of {total} official files of {title} are here byte for byte (SHA-256)"]
    for files, what in (
        (verdict.differ, "differ from the official file of their name (trimmed, resampled, re-encoded or damaged)"),
        (verdict.missing, "missing"),
        (verdict.other_format, "in a format other than the official WAV, so their bytes cannot be compared"),
        (verdict.unknown, "under a name that no official file has"),
    ):
        if files:
            more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
            lines.append(f"{len(files)} {what}: {', '.join(files[:NAMED])}{more}")
    return lines


def verify_command(name: str, data_dir: Path, cache_dir: Path, console: Console) -> bool:
    """Prints the report of a corpus, and returns whether all its files are official.

    If no sums are known, it returns whether the numbers of clips are the official ones, if those are known.
    """
    corpus, sums = open_corpus(name, {}, data_dir, cache_dir), official_sums(name)
    if not sums:
        counts = corpus.about.official
        checked = "names and counts are checked" if counts else "no counts either; names are checked"
        console.print(Text(f"no official sums are known for {corpus.about.title}; {checked} (above)"))
        complete = not counts or Counter((c.speaker, c.emotion) for c in corpus.clips) == Counter(counts)
        return complete and not any("labelled but missing" in warning for warning in corpus.warnings)
    verdict = compare(corpus, sums, console)
    for line in describe(corpus.about.title, verdict, len(sums)):
        console.print(Text(line))
    return verdict.is_official


def _digest(clip: Clip) -> str:
    try:
        with clip.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:DIGITS]
    except OSError as error:
        raise UserError(f"'{clip.path}' cannot be read ({error.strerror})") from None
