"""`make data CORPUS=<name>`: downloads the official archive of a corpus, checks and unpacks it, and reports its contents.

An interrupted download is continued from `<target>.zip.part`. The target folder appears only when everything is unpacked.
Sizes are in bytes.
"""

import shutil
import stat
import zipfile
import zlib
from collections import Counter
from contextlib import suppress
from pathlib import Path, PureWindowsPath

import pooch
from rich.console import Console, Group
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from emotion_lightning.config import parts
from emotion_lightning.corpora import EMOTIONS, Archive, Corpus, open_corpus
from emotion_lightning.errors import UserError
from emotion_lightning.http_file import download, stored_size

USUAL_RATIO = 3  # unpacked to packed size, for the check before the download; RAVDESS: 513 MB / 208 MB = 2.5
MOST_RATIO, MOST_UNPACKED = 20, 50 * 10**9  # the usual ratio of speech is 2 to 3; a much larger one is a zip bomb
MOST_FILES = 200_000  # the largest corpus here has 10 000 clips


def fetch(name: str, archive: Archive, target: Path, quiet: bool) -> None:
    """Downloads the archive and unpacks it to `target`, for example data/ravdess.

    Raises:
        UserError: the download or the archive failed, or the target is not empty. The message is one line.
    """
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise UserError(f"'{target}' exists and is not empty: move it away, then run the same command again")
    target = target.resolve()  # the target may be a link to a larger disk: download to that disk
    part = target.with_name(f"{target.name}.zip.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _need_space(target.parent, (1 + USUAL_RATIO) * archive.size - stored_size(part))
        if stored_size(part) < archive.size:
            download(name, archive.url, archive.size, part, quiet)
        _verify(archive, part)
        _unpack(part, target)
        part.unlink()
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{name}: {error}") from None
    except RuntimeError as error:  # a password, or a way of packing that Python does not know
        raise UserError(f"{name}: the archive cannot be unpacked ({error})") from None


def _verify(archive: Archive, part: Path) -> None:
    size, md5 = stored_size(part), pooch.file_hash(str(part), alg="md5") if part.exists() else "none"
    if (size, md5) != (archive.size, archive.md5):
        part.unlink(missing_ok=True)
        raise UserError(
            f"{archive.url}: expected {archive.size} bytes with md5 {archive.md5}, got {size} bytes with md5 {md5}; "
            "the download was deleted, run the same command again to start over"
        )


def _unpack(file: Path, target: Path) -> None:
    """Unpacks to a hidden folder next to the target, which no corpus reads, and then renames it."""
    temporary = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a run that was killed
    with zipfile.ZipFile(file) as archive:
        if (count := len(archive.infolist())) > MOST_FILES:
            raise UserError(f"{file.name}: refused, it has {count} files; {MOST_FILES} are the most")
        for member in archive.infolist():
            path = PureWindowsPath(member.filename)  # handles both slashes, roots and drive letters
            if path.anchor or ".." in path.parts or stat.S_ISLNK(member.external_attr >> 16):
                raise UserError(f"{file.name}: refused, {member.filename!r} is a link or leads out of the folder")
        # zipfile reads at most the declared size of a member, so the declared sizes can be trusted here.
        unpacked = sum(member.file_size for member in archive.infolist())
        if unpacked > min(MOST_RATIO * stored_size(file), MOST_UNPACKED):
            raise UserError(f"{file.name}: refused, {decimal(stored_size(file))} would unpack to {decimal(unpacked)}")
        _need_space(target.parent, unpacked)
        try:
            temporary.mkdir()
            archive.extractall(temporary)
            with suppress(FileNotFoundError):
                target.rmdir()  # an empty folder, which Windows would not replace
            temporary.replace(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _need_space(folder: Path, need: int) -> None:
    if (free := shutil.disk_usage(folder).free) < need:
        raise UserError(
            f"'{folder}' has {decimal(free)} free, {decimal(need)} are needed; choose another DATA=<folder>"
        )


def describe(corpus: Corpus) -> Group:
    """Returns a table of clips and speakers by emotion, found and official, and a line for each problem."""
    found = Counter((clip.speaker, clip.emotion) for clip in corpus.clips)
    official = Counter(corpus.about.official)
    table = Table()
    table.add_column("emotion")
    for column in ("clips", "official", "speakers"):
        table.add_column(column, justify="right")
    rows = {e: {key for key in found | official if key[1] == e} for e in EMOTIONS}
    for title, keys in {**rows, "all": set(found | official)}.items():
        if title == "all":
            table.add_section()
        if keys:
            clips, expected = (sum(counts[key] for key in keys) for counts in (found, official))
            speakers = len({key[0] for key in keys if found[key]})
            table.add_row(title, str(clips), str(expected) if official else "–", str(speakers))
    lines = list(corpus.warnings)
    if official and found == official:
        lines.insert(0, f"complete: {found.total()} of {official.total()} official clips")
    heading = f"{corpus.about.title} ({corpus.about.licence}), read from {corpus.folder}"
    return Group(Text(heading), table, *(Text(line) for line in lines))  # Text, because a path may contain [brackets]


def data_command(name: str, data_dir: Path, cache_dir: Path, console: Console) -> None:
    """Prints the report of a corpus. A missing corpus with an official archive is downloaded first."""
    module = parts.load("corpora", name)
    try:
        corpus = open_corpus(name, {}, data_dir, cache_dir)
    except UserError:
        about, target = module.ABOUT, data_dir / name
        if hasattr(module, "prepare"):  # it makes its own files, so the error is not a missing corpus
            raise
        source = about.how_to_get.replace("{folder}", str(target))
        console.print(
            Text(f"{about.title}: {about.citation}\nlicence: {about.licence}\nfrom: {source}"), soft_wrap=True
        )
        if about.archive is None:
            raise UserError(f"{about.title} is not in place: '{target}' holds no clip of it (see above)") from None
        console.print(Text(f"downloading {decimal(about.archive.size)} to {target}"))
        fetch(name, about.archive, target, quiet=console.quiet or not console.is_terminal)
        corpus = open_corpus(name, {}, data_dir, cache_dir)
    console.print(describe(corpus))
