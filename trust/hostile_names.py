"""Names and archives that somebody else chose: for a shell, for a page, for a folder, for ffmpeg."""

import hashlib
import os
import shutil
import stat
import subprocess
import zipfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from benchmarks.timing import REPOSITORY
from emotion_lightning.corpora import Archive
from emotion_lightning.data import download
from emotion_lightning.data.audio import BadClip
from emotion_lightning.errors import UserError
from emotion_lightning.serving.recogniser import decodable
from trust import commands
from trust.hostile_files import Scene

TARGETS = {
    "train": "EXP PROTOCOL SET JOBS FOLDS RESUME CORPORA DATA CACHE PARTS", "study": "STUDY SET ENGINE GPUS JOBS",
    "honesty": "EXP FOLDS", "tune": "EXP TRIALS INNER SET", "audit": "EXP PROTOCOL", "sanity": "EXP SET", "report": "STUDY",
    "compare": "A B STUDY", "import": "RUN", "data": "CORPUS", "weights": "NAME", "predict": "AUDIO RUN MODEL OUT MIN MIC",
    "explain": "RUN AUDIO TOP MAP", "register": "RUN NAME", "serve": "RUN MODEL PORT HOST MAX_MB TIMEOUT",
    "app": "MODEL MIN HOST PORT", "export": "RUN OUT AUDIO", "ui": "PORT", "prune": "OLDER STUDY",
}  # fmt: skip
VALUES = (
    "a; touch x", "$(touch x)", "`touch x`", "$(shell touch x)", "' ; touch x; '", '" ; touch x; "', "a && touch x",
    "a | touch x", "x\n\ttouch x", "a > x", "$$(touch x)", "${SHELL:+$(touch x)}", "\\'; touch x; \\'", "a,$(shell touch x)",
)  # fmt: skip


def through_make(folder: Path) -> Iterator[tuple[str, str]]:
    """Yields each target, variable and value that was tried, and "a command was run" if it made a file."""
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    shutil.copy(REPOSITORY / "Makefile", folder)
    for name in ("python", "emotion-lightning"):
        (programs / name).write_text("#!/bin/sh\nexit 0\n")
        (programs / name).chmod(0o755)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    extras = ("dev", "cluster", "weights", "tune", "onnx", "app", "explain", "audit")
    for stamp in (".installed", *(f".installed-{extra}" for extra in extras)):
        (programs.parent / stamp).touch()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    for target, variables in TARGETS.items():
        given = dict.fromkeys(variables.split(), "1")
        for name in given:
            for value in VALUES:
                words = [f"{key}={value if key == name else other}" for key, other in given.items()]
                subprocess.run(
                    ["make", target, *words], cwd=folder, env=environment, capture_output=True, check=False
                )
                ran = (folder / "x").exists()
                (folder / "x").unlink(missing_ok=True)
                yield f"make {target} {name}={value!r}", "a command was run" if ran else ""


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


def playlists(scene: Scene) -> Iterator[tuple[str, str]]:
    """Yields lists under the name of a sound that would make ffmpeg open another file, and "opened" where it does."""
    for label, text in {
        "an HLS playlist": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{scene.sound}\n#EXT-X-ENDLIST\n",
        "a list of files": f"ffconcat version 1.0\nfile '{Path(scene.sound).name}'\n",
    }.items():
        file = Path(scene.sound).with_name("upload.m4a")
        file.write_text(text)
        try:
            with decodable(file):
                yield label, "opened"
        except BadClip:
            yield label, ""
        finally:
            file.unlink()


SCRIPT, IMAGE = "<script>document.title='x'</script>", "<img src=x onerror=alert(1)>"
MATHS = r"$\frac$ & $x_{$"


class _Elements(HTMLParser):
    """Collects what a page must not have: scripts, and attributes that run code."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "base", "form"):
            self.found.append(f"<{tag}>")
        self.found += [
            f"<{tag} {name}>"
            for name, value in attributes
            if name.startswith("on") or (value or "").startswith("javascript:")
        ]


def pages(scene: Scene) -> Iterator[tuple[str, str]]:
    """Yields each page about a corpus, an experiment and a study with hostile names, and what it lets through."""
    experiments = scene.folder / "experiments"
    (experiments / "studies").mkdir(parents=True, exist_ok=True)
    sounds = sorted((scene.folder / ".cache").glob("demo-*/**/*.wav"))[:64]
    table = scene.folder / "table.csv"
    lines = ["path,emotion,speaker,sentence,intensity"]
    for number, sound in enumerate(sounds):
        name = (SCRIPT, IMAGE, MATHS, "plain")[number // 16]
        emotion = ("happy", "sad")[number % 2]
        lines.append(f'{sound},{emotion},"{name}","{name}","{(MATHS, SCRIPT)[number % 2]}"')
    table.write_text("\n".join(lines), encoding="utf-8")
    name = f"{IMAGE}{MATHS}"
    corpora = f"{{demo: off, table: {{path: '{table}'}}}}"
    settings = f"base: demo_svm\ncorpora: {corpora}\nprotocol: {{name: speaker_folds, folds: 2}}\n"
    (experiments / f"{name}.yaml").write_text(f'about: "{SCRIPT}"\n{settings}', encoding="utf-8")
    (experiments / "studies" / "mine.yaml").write_text(
        f'about: "{SCRIPT}"\narms:\n  a: {{label: "{IMAGE}", experiment: "{name}"}}\n'.replace("\\", "\\\\")
        + f"  b: {{label: '{MATHS}', experiment: demo_svm, set: {{corpora: {corpora}, model.C: 10.0}}}}\n"
        + "protocols:\n  speaker_folds: {folds: 2}\n",
        encoding="utf-8",
    )
    study = commands.run(scene.folder, "study", "mine")
    yield "study", "" if study.status == 0 else f"status {study.status}: {study.printed[-400:]}"
    yield "report", _page(scene.folder / "reports" / "mine" / "index.html")
    runs = [
        line
        for line in scene.folder.glob("mlruns/artifacts/*/artifacts/predictions.csv")
        if SCRIPT in line.read_text()
    ]
    for run in runs[:1]:
        explained = commands.run(scene.folder, "explain", run.parents[1].name)
        yield "explain", "" if explained.status == 0 else f"status {explained.status}: {explained.printed[-400:]}"
        yield "explain's page", _page(scene.folder / "reports" / "explain" / run.parents[1].name[:8] / "index.html")
    yield "runs of the study", "" if runs else "none was found"


def _page(file: Path) -> str:
    if not file.exists():
        return "not written"
    parser, text = _Elements(), file.read_text(encoding="utf-8")
    parser.feed(text)
    if parser.found:
        return f"it has {parser.found[0]}"
    return "" if "&lt;img src=x" in text or "&lt;script&gt;" in text else "the names are not in it"


def app_page(folder: Path) -> str:
    """Builds the page of `make app` with a hostile card and title; returns the component that would run them."""
    from emotion_lightning.app import page
    from emotion_lightning.serving import package

    recogniser = package.read(folder)
    recogniser.about = recogniser.about.model_copy(update={"title": SCRIPT})
    built = page.build(recogniser, f"# {SCRIPT}\n{IMAGE}").get_config_file()
    for component in built["components"]:
        text = str(component["props"].get("value"))
        if ("<script" in text or "<img src=x" in text) and component["props"].get("sanitize_html") is not True:
            return f"{component['type']}: {text[:80]}"
    return "" if any(a["type"] == "markdown" for a in built["components"]) else "no text"
