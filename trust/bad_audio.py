"""Damaged sound files: each is read right or refused with a reason, by the decoder, predict, the cache, the server and the app.

What must become of a file is known from the samples that were written and from the layout of its header
(damaged_sounds.py); lengths are also compared with those of ffmpeg. Everything runs in a process of its own, so that a crash,
a hang or a lack of memory in a library is a fault of one file and not the end of the suite.
"""

import base64
import csv
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.timing import REPOSITORY, run_ours
from emotion_lightning.app import answer
from emotion_lightning.config.schema import Audio
from emotion_lightning.corpora import Clip
from emotion_lightning.data import audio, cache
from emotion_lightning.data.audio import BadClip
from emotion_lightning.serving import package
from trust.damaged_sounds import EITHER, READ, REFUSED, Case, Sounds, written
from trust.rows import Row, Setting
from trust.workers import Lost, Worker

SECONDS = 20  # of one file
LARGEST_SENT = 15_000_000  # bytes; base64 makes 20 MB of it, and the server takes 25 MB
MEGABYTES = 3_000  # that all files together may add to a process
FFMPEG_SHARE = 0.005  # by which its length may differ: it reads an incomplete block at the end, or leaves it out


def rows(setting: Setting) -> Iterator[Row]:
    sounds = Sounds(setting.work / "originals", setting.seed)
    model = _model(setting.work)
    yield _each("the decoder", _Decoding, setting.times(5_000, 60), setting)
    yield _each("predict, file by file", partial(_Predicting, model), setting.times(5_000, 60), setting)
    yield _folder(model, sounds, setting.times(600, 40), setting)
    yield _names(model, sounds, setting)
    yield _long(model, sounds, setting)
    yield _each("the app's answer", partial(_Showing, model), setting.times(300, 20), setting)
    yield _table(sounds, setting.times(400, 40), setting)
    yield _server(model, sounds, setting.times(400, 40), setting)


def _model(work: Path) -> Path:
    """Returns the model package of an SVM that is trained on generated voices."""
    run_ours("-m", "emotion_lightning", "train", "demo_svm", "corpora.demo={speakers: 4, takes: 1}", cwd=work)
    return next((work / "mlruns").rglob(package.ABOUT)).parent


# ---------------------------------------------------------------- one file after the other, each in a worker


class _Files:
    """Writes the file of a number, and asks `_answer` for its outcome and its fault."""

    def __init__(self, work: Path, seed: int):
        self.work, self.sounds = work / f"files{os.getpid()}", Sounds(work / "originals", seed)
        self.work.mkdir()

    def __call__(self, number: int) -> tuple[str, str]:
        case = self.sounds.case(number)
        file = self.work / f"{number}{case.suffix}"
        file.write_bytes(case.content)
        try:
            outcome, fault = self._answer(case, file)
        finally:
            file.unlink()
        return outcome, f"{case.kind}: {fault}" if fault else ""

    def _answer(self, case: Case, file: Path) -> tuple[str, str]:
        raise NotImplementedError


class _Decoding(_Files):
    """Decodes a file by its path and by its bytes."""

    def _answer(self, case: Case, file: Path) -> tuple[str, str]:
        outcome, fault = "", ""
        for decode in (lambda: audio.decode(file), lambda: audio.decode_bytes(case.content, 600)):
            try:
                wave, rate = decode()
            except BadClip as reason:
                outcome, fault = "refused", fault or case.fault(None, 0, str(reason))
            else:
                outcome, fault = "read", fault or case.fault(wave, rate, "")
                fault = fault or (_against_ffmpeg(file, len(wave), rate) if case.wanted == EITHER else "")
        return outcome, fault


def _against_ffmpeg(file: Path, count: int, rate: int) -> str:
    """Returns what is wrong with the length of one in five files, if ffmpeg can read it; frames of MP3 have no checksum."""
    if not (ffmpeg := shutil.which("ffmpeg")) or file.suffix == ".mp3" or int(file.stem) % 5:
        return ""
    command = [ffmpeg, "-nostdin", "-v", "error", "-i", str(file), "-f", "f32le", "-ac", "1", "-ar", str(rate), "-"]
    done = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
    theirs = len(done.stdout) // 4
    if done.returncode or not theirs or abs(theirs - count) <= max(16, FFMPEG_SHARE * theirs):
        return ""
    return f"{count} samples, where ffmpeg reads {theirs}"


class _Predicting(_Files):
    """Asks a model for the emotion of a file."""

    def __init__(self, model: Path, work: Path, seed: int):
        super().__init__(work, seed)
        self.recogniser = package.read(model)

    def _answer(self, case: Case, file: Path) -> tuple[str, str]:
        try:
            found = self.recogniser.file(file)
        except BadClip as reason:
            too_short = case.samples is not None and len(case.samples) < 0.5 * case.rate
            return "refused", "" if too_short else case.fault(None, 0, str(reason))
        return "read", _recognition_fault(case, found.probabilities)


def _recognition_fault(case: Case, probabilities: dict[str, float]) -> str:
    if case.wanted == REFUSED:
        return "answered"
    total = sum(probabilities.values())
    return "" if abs(total - 1) < 1e-4 else f"probabilities with the sum {total}"


class _Showing(_Predicting):
    """Asks the app what its page shows of a file."""

    def _answer(self, case: Case, file: Path) -> tuple[str, str]:
        shown = answer.show(self.recogniser, file)
        if shown.probabilities is None:
            too_short = case.samples is not None and len(case.samples) < 0.5 * case.rate
            return "refused", "" if too_short else case.fault(None, 0, shown.text)
        return "read", _recognition_fault(case, shown.probabilities) or ("" if shown.spectrogram else "no picture")


def _each(label: str, make: Callable[..., _Files], times: int, setting: Setting) -> Row:
    faults, outcomes, slowest = [], Counter[str](), 0.0
    with Worker(make, setting.work, setting.seed, seconds=SECONDS, megabytes=MEGABYTES) as worker:
        for number in range(times):
            start = time.monotonic()
            try:
                outcome, fault = worker.ask(number)
            except Lost as lost:
                outcome, fault = "lost", str(lost)
            outcomes[outcome] += 1
            slowest = max(slowest, time.monotonic() - start if number else 0.0)
            if fault:
                faults.append(f"seed {setting.seed}, file {number}: {fault}")
    return Row(label, times, tuple(faults), f"{_counts(outcomes)}; the slowest took {slowest:.1f} s")


def _counts(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()) if outcome)


# ---------------------------------------------------------------- folders of files, through the command line


def _command(model: Path, folder: Path, out: Path, *more: str) -> tuple[list[dict[str, str]], str]:
    """Returns the rows that `predict` writes of a folder, and what is wrong with how it ended."""
    command = [sys.executable, "-m", "emotion_lightning", "predict", str(folder), "--model", str(model)]
    done = subprocess.run(
        [*command, "--out", str(out), *more],
        **{"cwd": out.parent, "env": _environment(), "capture_output": True, "timeout": 900, "check": False},
        text=True,
        errors="replace",
    )
    if done.returncode not in (0, 2) or "Traceback" in done.stderr or not out.exists():
        return [], f"exit status {done.returncode}: {' '.join(done.stderr.split())[-300:]}"
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)), ""


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "MLFLOW_TRACKING_URI": "", "OMP_NUM_THREADS": "1"}


def _folder(model: Path, sounds: Sounds, times: int, setting: Setting) -> Row:
    """A folder of damaged files: those that must be read have an answer, those that must be refused a reason."""
    folder = setting.work / "folder"
    folder.mkdir()
    cases = {f"{number}{(case := sounds.case(number)).suffix}": case for number in range(times)}
    for name, case in cases.items():
        (folder / name).write_bytes(case.content)
    written_rows, fault = _command(model, folder, setting.work / "folder.csv")
    found = {Path(row["file"]).name: row for row in written_rows}
    faults = [fault] if fault else [f"{name}: not in the report" for name in cases if name not in found]
    for name in found.keys() & cases.keys():
        wanted, row = cases[name].wanted, found[name]
        if bool(row["emotion"]) == bool(row["fault"]) or (wanted == REFUSED and row["emotion"]):
            faults.append(f"{cases[name].kind} ({name}): '{row['emotion']}', '{row['fault']}'")
    return Row("`predict` on a folder", times, tuple(faults), f"{sum(bool(r['fault']) for r in written_rows)} named")


NAMES = (
    *("plain", "with blanks", "two\nlines", "tab\there", "-v", "--out", "-", "'quoted' \"twice\"", "$(touch x)", "`x`"),
    *("100 %d", "%s", "*", "a?b[1]", "{a,b}", "[red]not a colour", "$a^2$ $", "C:\\clip", "semi;colon", "a,b", "&", "#"),
    *("Ärger", "Ωραία", "радость", "гнев", "喜び", "悲伤", "기쁨", "فرح", "שמחה", "ख़ुशी", "ความสุข", "😀 👨‍👩‍👧", "e\u0301", "\u202egnirts"),
    *("~", "~nobody", "x.wav", "x.tar", "nul", "\x01\x1b[31m", "l" * 246, "ß" * 120),
)
RAW = (b"latin-1 \xe4\xff", b"\xf0\x28\x8c")  # file names that are not UTF-8


def _names(model: Path, sounds: Sounds, setting: Setting) -> Row:
    """The same voice under all names, and what looks like a file and is none: all files have the same answer, timelines too."""
    folder = setting.work / "names"
    (folder / "folder.wav").mkdir(parents=True)
    (folder / "other").mkdir()
    content = sounds.original("wav", 0)
    names = [os.fsencode(f"{name}.wav") for name in NAMES] + [name + b".wav" for name in RAW] + [b"other/plain.wav"]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(content)  # noqa: PTH118 - bytes
    (folder / "loop.wav").symlink_to("loop.wav")
    (folder / "folder.wav" / "up").symlink_to(folder)
    (folder / "gone.wav").symlink_to("nowhere.wav")
    (folder / "device.wav").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.wav")
    (folder / "closed.wav").write_bytes(content)
    (folder / "closed.wav").chmod(0)
    faults = []
    for form, more in ((".csv", ()), (".json", ()), (".csv", ("--timeline",))):
        out = setting.work / f"names{len(more)}" / f"out{form}"
        out.parent.mkdir(exist_ok=True)
        if form == ".json":
            found, fault = _json_rows(model, folder, out)
        else:
            found, fault = _command(model, folder, out, *more)
        answered = [row for row in found if row.get("emotion")]
        known = {(row["emotion"], row["confidence"]) for row in answered}
        if fault or len(known) != 1:
            faults.append(f"{form} {more}: {fault or known}")
        refused = {Path(row["file"]).name for row in found if row.get("fault")}
        if len(answered) != len(names) + (os.geteuid() == 0) or refused - {"closed.wav"}:
            faults.append(f"{form} {more}: {len(answered)} answers for {len(names)} names, refused: {sorted(refused)}")
        pictures = len(list(out.parent.rglob("*.png")))
        if more and pictures != len(answered):
            faults.append(f"{pictures} pictures of {len(answered)} timelines")
    return Row("names, links, pipes, devices, closed files", 3 * (len(names) + 6), tuple(faults))


def _json_rows(model: Path, folder: Path, out: Path) -> tuple[list[dict[str, Any]], str]:
    _, fault = _command(model, folder, out)
    return (json.loads(out.read_text(encoding="utf-8")), fault) if out.exists() else ([], fault)


# ---------------------------------------------------------------- hours


class _Long:
    """Predicts a file, as a whole or with its timeline, and returns the seconds it was heard to last, or the reason."""

    def __init__(self, model: Path):
        self.recogniser = package.read(model)

    def __call__(self, job: tuple[Path, bool]) -> tuple[float, str]:
        try:
            return self.recogniser.file(job[0], timeline=job[1]).seconds, ""
        except BadClip as reason:
            return 0.0, str(reason)


def _long(model: Path, sounds: Sounds, setting: Setting) -> Row:
    """Hours of speech are read block by block, hours of silence and cut recordings are refused, in 400 MB."""
    folder = setting.work / "long"
    folder.mkdir()
    speech = np.tile(np.concatenate(sounds.voices), max(1, int(setting.times(1_800, 130) * sounds.rate / 100_000)))
    hours = setting.times(4)
    wanted: dict[str, tuple[float, str]] = {}
    for name in ("flac", "mp3", "ogg", "wav"):
        with soundfile.SoundFile(folder / f"speech.{name}", "w", sounds.rate, 1) as file:
            for first in range(0, len(speech), sounds.rate):  # libsndfile crashes where it is given all at once
                file.write(speech[first : first + sounds.rate])
        content = (folder / f"speech.{name}").read_bytes()
        (folder / f"cut.{name}").write_bytes(content[: 3 * len(content) // 4])
        wanted |= {f"speech.{name}": (len(speech) / sounds.rate, ""), f"cut.{name}": (0.0, "truncated|corrupt")}
    with soundfile.SoundFile(folder / "silence.flac", "w", 48_000, 2) as file:
        for _ in range(60 * hours):
            file.write(np.zeros((60 * 48_000, 2)))
    header = bytearray(written(np.zeros(1), 8_000, "WAV", "PCM_16")[:44])
    header[40:44] = (2 * 8_000 * 3_600 * hours).to_bytes(4, "little")
    header[4:8] = (2 * 8_000 * 3_600 * hours + 36).to_bytes(4, "little")
    with (folder / "sparse.wav").open("wb") as file:
        file.write(header)
        file.truncate(44 + 2 * 8_000 * 3_600 * hours)
    wanted |= {"silence.flac": (0.0, "silent"), "sparse.wav": (0.0, "silent")}
    speech[-5 * sounds.rate] = np.nan
    soundfile.write(folder / "nan.wav", speech, sounds.rate, subtype="FLOAT")
    wanted["nan.wav"] = (0.0, "not numbers")
    faults = []
    with Worker(_Long, model, seconds=600, megabytes=400) as worker:
        for (name, (seconds, reason)), timeline in ((item, flag) for item in wanted.items() for flag in (False, True)):
            try:
                found, given = worker.ask((folder / name, timeline))
            except Lost as lost:
                found, given = -1.0, str(lost)
            if abs(found - seconds) > 0.5 or not re.search(reason, given) or bool(given) != bool(reason):
                faults.append(f"{name}: {found:.1f} s, '{given}'")
    seen = f"speech of {len(speech) / sounds.rate / 60:.0f} minutes, silence of {hours} hours; 400 MB at most"
    return Row("long files, cut and whole", 2 * len(wanted), tuple(faults), seen)


# ---------------------------------------------------------------- a corpus of one's own


class _Caching:
    """Reads a CSV table with the corpus `table` and fills the cache; returns the fault of each clip by its id, and its length."""

    def __call__(self, job: tuple[Path, Path]) -> dict[str, tuple[str, int]]:
        from emotion_lightning.corpora import open_corpus

        table, folder = job
        clips: tuple[Clip, ...] = open_corpus("table", {"path": str(table)}, table.parent / "no", folder).clips
        waves = cache.waves(clips, Audio(trim_db=None), folder, lambda items, *_: items)
        return {c.id: (str(f), int(n)) for c, f, n in zip(clips, waves.faults, waves.lengths, strict=True)}


def _table(sounds: Sounds, times: int, setting: Setting) -> Row:
    folder = setting.work / "table"
    folder.mkdir()
    cases = {f"c{number}": sounds.case(number) for number in range(times)}
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(["id", "path", "emotion", "speaker"])
        for name, case in cases.items():
            (folder / f"{name}{case.suffix}").write_bytes(case.content)
            lines.writerow([name, f"{name}{case.suffix}", "sad", "ann"])
    with Worker(_Caching, seconds=20 * times, megabytes=MEGABYTES) as worker:
        try:
            found = worker.ask((folder / "table.csv", folder / "cache"))
        except Lost as lost:
            return Row("a CSV table's corpus in the cache", times, (str(lost),))
    faults = [f"{name}: not in the cache" for name in cases.keys() - found.keys()]
    for name in cases.keys() & found.keys():
        reason, count = found[name]
        case = cases[name]
        expected = len(case.samples) * 16_000 / case.rate if case.samples is not None else count
        if bool(reason) == bool(count) or (case.wanted == REFUSED and count):
            faults.append(f"{case.kind} ({name}): '{reason}', {count} samples")
        elif count and abs(count - expected) > case.slack + 2:
            faults.append(f"{case.kind} ({name}): {count} samples at 16 kHz, not {expected:.0f}")
        elif reason and case.wanted == READ and "too short" not in reason:
            faults.append(f"{case.kind} ({name}): {reason}")
    named = sum(bool(reason) for reason, _ in found.values())
    return Row("a CSV table's corpus in the cache", times, tuple(faults), f"{named} clips named, the rest cached")


# ---------------------------------------------------------------- the server


@contextmanager
def _served(model: Path, work: Path) -> Iterator[str]:
    """Gives the address of a server of ours for the model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "emotion_lightning", "serve", "--model", str(model), "--port", str(port)]
    with (
        (work / "server.log").open("w") as log,
        subprocess.Popen(command, cwd=work, env=_environment(), stdout=log, stderr=log) as server,
    ):
        try:
            for _ in range(600):
                if server.poll() is not None:
                    break
                with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
                    break
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)


def _server(model: Path, sounds: Sounds, times: int, setting: Setting) -> Row:
    """A bad file gets 400 with a reason, a good one 200; the server answers an undamaged one as before, and logs no traceback."""
    faults, statuses = [], Counter[str]()
    good = sounds.original("wav", 0)
    with _served(_mlflow_folder(model), setting.work) as address:
        before = _ask(address, _audio(good))
        for number in range(times):
            case = sounds.case(number)
            if len(case.content) > LARGEST_SENT:  # 413, of which a client that is still sending may see a closed connection
                continue
            status, said = _ask(address, _audio(case.content))
            statuses[str(status)] += 1
            allowed = {READ: (200,), REFUSED: (400,)}.get(case.wanted, (200, 400))
            if case.samples is not None and len(case.samples) < 0.5 * case.rate:
                allowed = (200, 400)
            if status not in allowed or (status == 400 and ("\n" in said or not said)):
                faults.append(f"seed {setting.seed}, file {number}: {case.kind}: {status} {said[:200]}")
        for body in _bodies():
            status, said = _ask(address, body)
            statuses[str(status)] += 1
            if status != 400 or "\n" in said.strip() or not said:
                faults.append(f"{body[:80]!r}: {status} {said[:200]}")
        if before[0] != 200 or _ask(address, _audio(good)) != before:
            faults.append(f"an undamaged file had {before} before and {_ask(address, _audio(good))} after")
    if "Traceback" in (log := (setting.work / "server.log").read_text(errors="replace")):
        faults.append(f"the server's log: {log[log.index('Traceback') :][:300]}")
    return Row("our HTTP server", times + len(_bodies()), tuple(faults), f"status {_counts(statuses)}".replace(" 200", " × 200"))


def _mlflow_folder(model: Path) -> Path:
    return next(folder for folder in model.parents if (folder / "MLmodel").exists())


def _audio(content: bytes) -> bytes:
    return json.dumps({"dataframe_records": [{"audio": base64.b64encode(content).decode()}]}).encode()


def _bodies() -> list[bytes]:
    """Requests with rows that are no sound."""
    rows: list[Any] = [
        *({"audio": value} for value in (None, 3, True, [], {}, "", "%", "ÿ", "A" * 5, [1])),
        *({"samples": value, "rate": 16_000} for value in (None, 3, "x", [], {}, ["x"], [None] * 99, [[0.1, 0.2]] * 9)),
        *({"samples": value, "rate": 16_000} for value in ([[[0.1]]], [{}], [True], [1e39], [float("nan")] * 9999, [[1], [1, 2]])),
        *({"samples": [0.1, -0.1] * 9_999, "rate": rate} for rate in (None, 0, -1, "x", [], [1], {}, 1e300, float("nan"), True)),
        *({"path": value} for value in ("/etc/passwd", "", "x\0y", 3, [], "/dev/zero")),
        *(3, None, [], "x"),
    ]
    bodies = [json.dumps({"dataframe_records": [row]}).encode() for row in rows]
    wrong = [b"", b"{", b"null", b"[" * 100_000, b'{"dataframe_records": {}}', b'{"dataframe_split": 3}', b'{"inputs": [1]}']
    for params in ("3", "[]", '{"min_confidence": "x"}', '{"min_confidence": NaN}', '{"min_confidence": 1e999}'):
        wrong.append(f'{{"dataframe_records": [{{"audio": "AAAA"}}], "params": {params}}}'.encode())
    return bodies + wrong


def _ask(address: str, body: bytes) -> tuple[int, str]:
    request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as refused:
        said = refused.read().decode(errors="replace")
        with suppress(ValueError, KeyError):
            said = json.loads(said)["error"]
        return refused.code, str(said)
    except (OSError, TimeoutError) as error:
        return 0, f"{type(error).__name__}: {error}"
