"""Downloads from a real server on this machine that can drop, stall, forget ranges and send something else."""

import hashlib
import io
import os
import random
import signal
import socket
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from file_server import Server
from rich.console import Console

from emotion_lightning import corpora, http_file
from emotion_lightning.config import parts
from emotion_lightning.corpora import Archive
from emotion_lightning.data import download
from emotion_lightning.errors import UserError

ROOT = Path(__file__).parents[1]


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


FILES = {f"Actor_{n:02}/clip-{n}.wav": random.Random(n).randbytes(60_000) for n in range(1, 6)}  # will not pack
BODY = zipped(FILES)


def archive_of(server: Server, body: bytes = BODY) -> Archive:
    """What a corpus's file would say of the body; the server gets to send it, too, where it has no other yet."""
    server.body = server.body or body
    return Archive(server.url, hashlib.md5(body).hexdigest(), len(body))


def files_below(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_download_is_unpacked_and_leaves_nothing_else(server: Server, tmp_path: Path) -> None:
    download.fetch("toy", archive_of(server), tmp_path / "data" / "toy", quiet=True)
    assert files_below(tmp_path) == {f"data/toy/{name}": content for name, content in FILES.items()}
    assert server.asked == [None]
    assert server.agents[0].startswith("emotion-lightning/")  # Zenodo turns the default of requests away


def test_after_a_drop_only_the_rest_is_asked_for(server: Server, tmp_path: Path) -> None:
    server.drops = [100_000, 50_000]
    download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    assert files_below(tmp_path / "toy") == FILES
    first, *later = server.asked
    starts = [int(wanted.removeprefix("bytes=").removesuffix("-")) for wanted in later]
    assert first is None
    assert len(starts) == 2
    assert 100_000 - http_file.CHUNK <= starts[0] <= 100_000 < starts[1] <= 150_000


def test_more_drops_than_tries_are_fine_while_bytes_come(server: Server, tmp_path: Path) -> None:
    server.drops = [30_000] * (http_file.TRIES + 2)
    download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    assert files_below(tmp_path / "toy") == FILES


def test_a_later_run_goes_on_with_the_part_of_an_earlier_one(server: Server, tmp_path: Path) -> None:
    (tmp_path / "toy.zip.part").write_bytes(BODY[:123_456])
    download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    assert server.asked == ["bytes=123456-"]
    assert files_below(tmp_path) == {f"toy/{name}": content for name, content in FILES.items()}


def test_a_whole_part_is_not_asked_for_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "toy.zip.part").write_bytes(BODY)
    download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    assert server.asked == []
    assert files_below(tmp_path / "toy") == FILES


def test_a_killed_download_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    archive, part = archive_of(server), tmp_path / "toy.zip.part"
    server.stall_after = 150_000
    script = (
        "import sys; from pathlib import Path; from emotion_lightning import corpora\n"
        "from emotion_lightning.data import download\n"
        f"download.fetch('toy', corpora.{archive!r}, Path(sys.argv[1]), quiet=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "toy")], cwd=ROOT)
    try:
        deadline = time.monotonic() + 20
        while not (part.exists() and part.stat().st_size > 100_000):
            assert time.monotonic() < deadline, "the download did not start"
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "toy").exists()
    server.stall_after, have = None, part.stat().st_size
    download.fetch("toy", archive, tmp_path / "toy", quiet=True)
    assert server.asked == [None, f"bytes={have}-"]
    assert files_below(tmp_path) == {f"toy/{name}": content for name, content in FILES.items()}


def test_a_server_that_ignores_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.knows_ranges, server.drops = False, [100_000]
    download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    assert len(server.asked) == 2
    assert server.asked[1] is not None
    assert files_below(tmp_path / "toy") == FILES


def test_a_server_that_gets_no_further_is_given_up(server: Server, tmp_path: Path) -> None:
    server.knows_ranges, server.drops = False, [100_000] * 99
    with pytest.raises(UserError, match="same command again to continue"):
        download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    assert len(server.asked) == http_file.TRIES + 1  # the first brought something new


def test_busy_servers_are_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    assert files_below(tmp_path / "toy") == FILES


def test_a_missing_file_is_reported_at_once(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(UserError, match=r"corpus\.zip answered 404 Not Found"):
        download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    assert server.asked == [None]


def test_wrong_bytes_are_deleted_and_reported_with_both_checksums(server: Server, tmp_path: Path) -> None:
    server.body = b"\0" * len(BODY)
    with pytest.raises(UserError) as error:
        download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    expected, got = (hashlib.md5(content).hexdigest() for content in (BODY, server.body))
    assert f"expected {len(BODY)} bytes with md5 {expected}, got {len(BODY)} bytes with md5 {got}" in str(error.value)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_another_file_on_the_server_leaves_the_part_as_it_is(server: Server, tmp_path: Path) -> None:
    server.body, server.knows_ranges = b"<html>Please sign in to the hotel's network</html>", False
    (tmp_path / "toy.zip.part").write_bytes(BODY[:1000])
    with pytest.raises(UserError, match=f"expected a file of {len(BODY)} bytes, the server has {len(server.body)}"):
        download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    assert files_below(tmp_path) == {"toy.zip.part": BODY[:1000]}


def test_a_server_with_nothing_left_ends_in_the_check(server: Server, tmp_path: Path) -> None:
    server.body = BODY[:1000]
    (tmp_path / "toy.zip.part").write_bytes(BODY[:1000])
    with pytest.raises(UserError, match=f"expected {len(BODY)} bytes .* got 1000 bytes"):
        download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    assert server.asked == ["bytes=1000-"]  # answered by 416
    assert list(tmp_path.iterdir()) == []


def test_an_endless_answer_is_cut_off(server: Server, tmp_path: Path) -> None:
    server.body, server.tells_length = BODY + bytes(20_000_000), False
    with pytest.raises(UserError, match=f"expected {len(BODY)} bytes") as error:
        download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    got = int(str(error.value).partition("got ")[2].split()[0])
    assert len(BODY) < got <= len(BODY) + http_file.CHUNK


def test_an_unreachable_server_is_one_line_with_the_url(server: Server, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/corpus.zip"
    with pytest.raises(UserError) as error:
        download.fetch("toy", Archive(url, "0" * 32, 1000), tmp_path / "toy", quiet=True)
    assert str(error.value).startswith(f"{url} cannot be reached")
    assert "run the same command again to continue" in str(error.value)
    assert "\n" not in str(error.value)


def test_too_small_a_disk_is_reported_before_the_first_request(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"free, .* are needed"):
        download.fetch("toy", Archive(server.url, "0" * 32, 10**18), tmp_path / "toy", quiet=True)
    assert server.asked == []


@pytest.mark.parametrize(
    "member",
    ["../e.wav", "Actor_01/../../e.wav", "/tmp/e.wav", "C:/e.wav", "C:e.wav", "..\\e.wav", "\\e.wav"],
)
def test_members_that_lead_out_of_the_folder_are_refused(server: Server, tmp_path: Path, member: str) -> None:
    body = zipped({"Actor_01/fine.wav": b"1", member: b"2"})
    with pytest.raises(UserError) as error:
        download.fetch("toy", archive_of(server, body), tmp_path / "data" / "toy", quiet=True)
    assert repr(member) in str(error.value)
    assert files_below(tmp_path) == {"data/toy.zip.part": body}


def test_links_are_refused(server: Server, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("Actor_01/passwd.wav")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(UserError, match=r"Actor_01/passwd\.wav"):
        download.fetch("toy", archive_of(server, buffer.getvalue()), tmp_path / "toy", quiet=True)
    assert not (tmp_path / "toy").exists()


def test_a_zip_bomb_is_refused(server: Server, tmp_path: Path) -> None:
    body = zipped({"Actor_01/zeros.wav": bytes(1_000_000)})
    assert len(body) < 1_000_000 / download.MOST_RATIO
    with pytest.raises(UserError, match=r"would unpack to 1\.0 MB"):
        download.fetch("toy", archive_of(server, body), tmp_path / "toy", quiet=True)
    assert not (tmp_path / "toy").exists()


def test_a_damaged_member_leaves_no_half_target(server: Server, tmp_path: Path) -> None:
    damaged = bytearray(BODY)
    damaged[BODY.rindex(FILES["Actor_05/clip-5.wav"][1000:1100])] ^= 0xFF  # the last one, so four are unpacked before
    with pytest.raises(UserError, match="CRC"):
        download.fetch("toy", archive_of(server, bytes(damaged)), tmp_path / "toy", quiet=True)
    assert files_below(tmp_path).keys() == {"toy.zip.part"}


def test_what_a_killed_unpacking_left_is_not_taken_over(server: Server, tmp_path: Path) -> None:
    (tmp_path / ".toy.unpacking" / "Actor_01").mkdir(parents=True)
    (tmp_path / ".toy.unpacking" / "Actor_01" / "half.wav").touch()
    download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    assert files_below(tmp_path) == {f"toy/{name}": content for name, content in FILES.items()}


def test_a_target_with_files_is_not_touched(server: Server, tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "mine.wav").write_bytes(b"mine")
    with pytest.raises(UserError, match="exists and is not empty"):
        download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    assert files_below(tmp_path) == {"toy/mine.wav": b"mine"}
    assert server.asked == []


@pytest.mark.parametrize("linked", [False, True])
def test_an_empty_target_is_filled_also_behind_a_link(server: Server, tmp_path: Path, linked: bool) -> None:
    (tmp_path / "big_disk").mkdir()
    if linked:
        (tmp_path / "toy").symlink_to(tmp_path / "big_disk")
    else:
        (tmp_path / "toy").mkdir()
    download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    assert files_below(tmp_path / "toy") == FILES
    assert (tmp_path / "toy").is_symlink() == linked


@pytest.mark.parametrize("quiet", [True, False])
def test_the_bar_is_silent_when_quiet(
    server: Server, tmp_path: Path, quiet: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=quiet)
    output = "".join(capfd.readouterr())
    assert (output == "") if quiet else ("toy" in output and "kB" in output)


CORPUS = '''"""A corpus of the user's own, three clips of one speaker, with an archive."""

from emotion_lightning.corpora import About, Archive, Clip, media_files

ABOUT = About("Toy", "CC0", "nobody", "ask [me]", {{("toy-1", "happy"): 2, ("toy-1", "sad"): 1}}, {archive})


def read(folder):
    for path in media_files(folder):
        yield Clip(path.stem, path, "{name}", path.stem.split("-")[0], "toy-1")
'''
CLIPS = zipped({"happy-1.wav": b"1", "happy-2.wav": b"2", "sad-1.wav": b"3"})


def toy_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, archive: Archive | None) -> None:
    """A parts folder with one corpus; each test has its own name for it, since Python keeps modules."""
    (tmp_path / "parts" / "corpora").mkdir(parents=True)
    (tmp_path / "parts" / "corpora" / f"{name}.py").write_text(CORPUS.format(archive=archive, name=name))
    monkeypatch.setenv(parts.ENVIRONMENT, str(tmp_path / "parts"))
    monkeypatch.setattr(corpora, "__path__", list(corpora.__path__))  # which the search for parts widens


def run_data(name: str, tmp_path: Path) -> str:
    with io.StringIO() as printed:
        download.data_command(name, tmp_path / "data", tmp_path / "cache", Console(file=printed, width=200))
        return " ".join(printed.getvalue().split())


def test_make_data_downloads_once_and_reports(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy_corpus(tmp_path, monkeypatch, "toy_online", archive_of(server, CLIPS))
    first, second = run_data("toy_online", tmp_path), run_data("toy_online", tmp_path)
    assert "downloading" in first
    assert "licence: CC0" in first
    assert "downloading" not in second
    assert server.asked == [None]
    for report in (first, second):
        assert "complete: 3 of 3 official clips" in report
        assert "│ happy │ 2 │ 2 │ 1 │" in report
        assert "│ all │ 3 │ 3 │ 1 │" in report
        assert "angry" not in report
        assert f"Toy (CC0), read from {tmp_path / 'data' / 'toy_online'}" in report


def test_make_data_reports_what_is_short(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy_corpus(tmp_path, monkeypatch, "toy_short", archive_of(server, CLIPS))
    (tmp_path / "data" / "toy_short").mkdir(parents=True)
    (tmp_path / "data" / "toy_short" / "happy-1.wav").touch()
    report = run_data("toy_short", tmp_path)
    assert "complete" not in report
    assert "│ sad │ 0 │ 1 │ 0 │" in report
    assert "toy_short: 1 of 3 official clips; speakers toy-1 1 of 3; emotions happy 1 of 2, sad 0 of 1" in report
    assert server.asked == []


def test_make_data_says_how_to_get_what_it_cannot_download(tmp_path: Path) -> None:
    printed = io.StringIO()
    with pytest.raises(UserError, match="SAVEE is not in place"):
        download.data_command("savee", tmp_path / "data", tmp_path / "cache", Console(file=printed, width=200))
    assert "register at http://kahlan.eps.surrey.ac.uk/savee/" in printed.getvalue()
    assert "research only" in printed.getvalue()


def test_make_data_knows_no_corpus_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'ravdess'"):
        run_data("ravdes", tmp_path)


def test_very_many_files_are_refused(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MOST_FILES", 4)
    with pytest.raises(UserError, match="it has 5 files; 4 are the most"):
        download.fetch("toy", archive_of(server), tmp_path / "toy", quiet=True)
    assert not (tmp_path / "toy").exists()


@pytest.mark.parametrize(("at", "value", "message"), [(6, 1, "encrypted"), (8, 99, "compression method")])
def test_an_archive_that_cannot_be_unpacked_is_refused_in_one_line(
    server: Server, tmp_path: Path, at: int, value: int, message: str
) -> None:
    body = bytearray(zipped({"a.wav": bytes(range(256))}))
    body[at] = body[body.index(b"PK\x01\x02") + at + 2] = value
    with pytest.raises(UserError, match=f"toy: the archive cannot be unpacked .*{message}") as refused:
        download.fetch("toy", archive_of(server, bytes(body)), tmp_path / "toy", quiet=True)
    assert "\n" not in str(refused.value) and not (tmp_path / "toy").exists()
