"""Archives to unpack and downloads to check that somebody else has made."""

import hashlib
import shutil
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from emotion_lightning.corpora import Archive
from emotion_lightning.data import download
from emotion_lightning.errors import UserError


def hostile_archive(random: np.random.Generator, file: Path) -> str:
    """Writes a zip archive whose members try to get out of its folder; returns what it has."""
    pieces = np.array(
        ["..", ".", "a", "", "/", "\\", "C:", "~", "\\\\host", "b.wav", "...", " ", "..\\..", "x/../.."]
    )
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        names = []
        for _ in range(int(random.integers(1, 4))):
            name = str(random.choice(["/", "\\"])).join(random.choice(pieces, int(random.integers(1, 6)))) or "a"
            member = zipfile.ZipInfo(name)
            if random.random() < 0.3:  # a link, and then a file that would be written through it
                member.external_attr = (stat.S_IFLNK | 0o777) << 16
                archive.writestr(member, "../../outside")
                member = zipfile.ZipInfo(f"{name}/through.txt")
            archive.writestr(member, "written")
            names.append(name)
    return " ".join(names)


def bombs(file: Path) -> Iterator[tuple[str, str]]:
    """Yields archives that would fill a disk or a folder, and those that cannot be unpacked, with what went wrong."""

    def ratio(archive: zipfile.ZipFile) -> None:
        archive.writestr("zeros.wav", bytes(50_000_000))

    def count(archive: zipfile.ZipFile) -> None:
        for number in range(download.MOST_FILES + 1):
            archive.writestr(str(number), b"")

    def nested(archive: zipfile.ZipFile) -> None:
        for number in range(100):
            archive.writestr(f"{number}.zip", bytes(1_000_000))

    for label, fill in {"ratio": ratio, "number of files": count, "many with a ratio": nested}.items():
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            fill(archive)
        yield f"bomb by {label}", _fetched(file)
    for label, at, byte in (("a password", 6, 1), ("an unknown way of packing", 8, 99)):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a.wav", bytes(range(256)))
        content = bytearray(file.read_bytes())
        central = content.index(b"PK\x01\x02")
        for start, shift in ((0, 0), (central, 2)):
            content[start + at + shift] = byte
        file.write_bytes(content)
        yield f"archive with {label}", _fetched(file)


def _fetched(file: Path) -> str:
    """Gives the archive to `make data` as if it were downloaded; returns what is wrong with the refusal."""
    target = file.with_name("corpus")
    part, content = target.with_name("corpus.zip.part"), file.read_bytes()
    part.write_bytes(content)
    try:
        download.fetch(
            "toy", Archive("http://127.0.0.1:9/x.zip", hashlib.md5(content).hexdigest(), len(content)), target, True
        )
    except UserError as refusal:
        return "more than one line" if "\n" in str(refusal) else "unpacked in part" if target.exists() else ""
    finally:
        part.unlink(missing_ok=True)
    shutil.rmtree(target)
    return "it was not refused"


def unpacked(random: np.random.Generator, folder: Path) -> str:
    """Gives one hostile archive to `make data`; returns the first file that is not in its folder."""
    outside = folder / "outside"
    outside.mkdir(parents=True, exist_ok=True)
    inside = folder / "deep" / "er"
    inside.mkdir(parents=True, exist_ok=True)
    what = hostile_archive(random, inside / "hostile.zip")
    _fetched(inside / "hostile.zip")
    (inside / "hostile.zip").unlink()
    found = [path for path in folder.rglob("*") if path not in (outside, inside, inside.parent)]
    return f"{what!r}: {found[0]}" if found else ""


def damaged_download(random: np.random.Generator, folder: Path) -> str:
    """Changes bytes of a download, or adds some; returns what is wrong with the refusal."""
    folder.mkdir(parents=True, exist_ok=True)
    target, part = folder / "corpus", folder / "corpus.zip.part"
    with zipfile.ZipFile(part, "w") as archive:
        archive.writestr("a.wav", random.bytes(2000))
    good = part.read_bytes()
    bad = bytearray(good)
    bad[int(random.integers(len(bad)))] ^= int(random.integers(1, 256))
    part.write_bytes(bad if random.random() < 0.7 else good + random.bytes(int(random.integers(1, 9))))
    try:
        download.fetch(
            "toy", Archive("http://127.0.0.1:9/x.zip", hashlib.md5(good).hexdigest(), len(good)), target, True
        )
    except UserError as refusal:
        return "kept" if part.exists() or target.exists() else "" if "expected" in str(refusal) else str(refusal)
    return "it was unpacked"
