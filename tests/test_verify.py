"""VERIFY=1: compares files with the official ones by bytes, mostly with sums of small files that the test makes."""

import hashlib
import io
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from corpus_files import FILES, SHARED, opened, put, touch, write
from rich.console import Console
from typer.testing import CliRunner

from emotion_lightning.cli import main as cli
from emotion_lightning.data import verify

LISTED = ["crema_d", "emodb", "ravdess", "savee", "tess"]
CLIPS = ["03a01Fa", "03a01Nc", "08a02Ab", "16b10Wb"]

Place = Callable[..., Path]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """`place("wav/", ".wav", {...})`: CLIPS as EMO-DB's files, which hold their own names where nothing else is said."""
    lines = [f"{clip} {hashlib.sha256(clip.encode()).hexdigest()[:16]}" for clip in CLIPS]
    (tmp_path / "sums").mkdir()
    (tmp_path / "sums" / "emodb.sha256.xz").write_bytes(lzma.compress("\n".join(lines).encode()))
    monkeypatch.setattr(verify, "SUMS", tmp_path / "sums")

    def put_files(folder: str = "wav/", suffix: str = ".wav", other: dict[str, str] | None = None) -> Path:
        texts = {f"{folder}{clip}{suffix}": clip for clip in CLIPS} | (other or {})
        write(tmp_path / "data" / "emodb", texts)
        return tmp_path / "data"

    return put_files


def verified(data: Path, name: str = "emodb") -> tuple[bool, list[str]]:
    """The verdict and its lines."""
    with io.StringIO() as printed:
        sound = verify.verify_command(name, data, data / "cache", Console(file=printed, width=250))
        return sound, printed.getvalue().splitlines()


@pytest.mark.parametrize(("folder", "suffix"), [("wav/", ".wav"), ("a/b/", ".WAV"), ("", ".wav")])
def test_official_files_are_known_in_every_folder(place: Place, folder: str, suffix: str) -> None:
    sound, lines = verified(place(folder, suffix))
    assert sound
    assert lines == ["4 of 4 official files of EMO-DB are here byte for byte (SHA-256)"]


def test_a_file_with_other_bytes_is_named(place: Place) -> None:
    sound, lines = verified(place(other={"wav/08a02Ab.wav": "trimmed"}))
    assert not sound
    assert lines[0].startswith("3 of 4 ")
    assert lines[1].startswith("1 differ from the official file of their name (trimmed, resampled, re-encoded")
    assert lines[1].endswith(": 08a02Ab.wav")


def test_a_missing_file_is_named(place: Place) -> None:
    data = place()
    (data / "emodb" / "wav" / "03a01Nc.wav").unlink()
    sound, lines = verified(data)
    assert not sound
    assert lines[1:] == ["1 missing: 03a01Nc"]


def test_another_format_cannot_be_compared(place: Place) -> None:
    sound, lines = verified(place(suffix=".flac"))
    assert not sound
    assert lines[0].startswith("0 of 4 ")
    assert lines[1] == (
        "4 in a format other than the official WAV, so their bytes cannot be compared: "
        "03a01Fa.flac, 03a01Nc.flac, 08a02Ab.flac and 1 more"
    )


def test_a_clip_of_no_official_name_is_named(place: Place) -> None:
    sound, lines = verified(place(other={"wav/03a01Ff.wav": "new"}))
    assert not sound
    assert lines[1:] == ["1 under a name that no official file has: 03a01Ff.wav"]


def test_an_unreadable_file_is_one_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(hashlib, "file_digest", broken)
    with pytest.raises(verify.UserError, match=r"03a01Fa\.wav' cannot be read \(Input/output error\)"):
        verified(place())


@pytest.mark.parametrize(("files", "sound"), [(FILES["emovo"], True), (FILES["emovo"][1:], False)])
def test_without_sums_the_counts_decide(files: list[str], sound: bool, tmp_path: Path) -> None:
    put("emovo", tmp_path, files)
    verdict, lines = verified(tmp_path, "emovo")
    assert verdict == sound
    assert lines == ["no official sums are known for EMOVO; names and counts are checked (above)"]


def test_without_sums_and_counts_nothing_is_held_against_a_corpus(tmp_path: Path) -> None:
    put("iemocap", tmp_path)
    assert verified(tmp_path, "iemocap") == (
        True,
        ["no official sums are known for IEMOCAP; no counts either; names are checked (above)"],
    )


def test_a_labelled_clip_that_is_missing_is_held_against_iemocap(tmp_path: Path) -> None:
    put("iemocap", tmp_path)
    next(tmp_path.rglob("Ses01F_impro01_*.wav")).unlink()
    assert verified(tmp_path, "iemocap")[0] is False


def test_the_command_reports_both_and_sets_its_status(place: Place) -> None:
    def run(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(cli.app, ["data", "emodb", "--data", str(data), *options])
        return result.exit_code, result.output

    data = place()
    status, output = run("--verify")
    assert status == 0
    assert "4 of 535 official clips" in output.replace("\n", " ")
    assert "4 of 4 official files" in output
    place(other={"wav/08a02Ab.wav": "trimmed"})
    assert run("--verify")[0] == 1
    status, output = run()
    assert status == 0
    assert "byte for byte" not in output


def test_the_shipped_lists_are_those_of_the_five_corpora() -> None:
    assert sorted(file.name.partition(".")[0] for file in verify.SUMS.iterdir()) == LISTED
    assert sum(len(verify.official_sums(name)) for name in LISTED) == 12_697
    assert verify.official_sums("emovo") == {}


@pytest.mark.parametrize("name", LISTED)
def test_the_shipped_list_has_the_ids_that_the_corpus_gives(name: str, tmp_path: Path) -> None:
    put(name, tmp_path)
    sums = verify.official_sums(name)
    assert {clip.id for clip in opened(name, tmp_path).clips} == sums.keys()
    assert {len(digits) for digits in sums.values()} == {verify.DIGITS}


@pytest.mark.parametrize("name", LISTED)
def test_the_shipped_list_is_the_published_one(name: str, tmp_path: Path) -> None:
    if not (listing := SHARED / "checksums" / f"{name}.sha256").is_file():
        pytest.skip(f"no list of the official files of {name} at {listing}")
    published = {file: digest for digest, file in (line.split() for line in listing.read_text().splitlines())}
    touch(tmp_path, list(published))
    clips = {clip.path.relative_to(tmp_path).as_posix(): clip.id for clip in opened(name, tmp_path).clips}
    assert {clips[file]: digest[:16] for file, digest in published.items()} == verify.official_sums(name)


@pytest.mark.parametrize(("name", "count"), [("ravdess", 11), ("savee", 10)])
def test_real_originals_are_official_and_their_flacs_cannot_be_compared(name: str, count: int) -> None:
    originals = SHARED / "originals"
    if not (originals / name).is_dir():
        pytest.skip(f"no original files of {name} at {originals / name}")
    console = Console(quiet=True)
    verdict = verify.compare(opened(name, originals), verify.official_sums(name), console)
    assert (len(verdict.official), verdict.differ, verdict.unknown) == (count, [], [])
    flacs = verify.compare(opened(name, SHARED), verify.official_sums(name), console)
    assert (len(flacs.other_format), flacs.missing, flacs.is_official) == (len(FILES[name]), [], False)
