"""Damaged sound files: each is read right or refused with a reason, by the decoder, predict, the cache, the server and the app.

What must become of a file is known from the samples that were written and from the layout of its header
(damaged_sounds.py); lengths are also compared with those of ffmpeg. Everything runs in a process of its own, so that a crash,
a hang or a lack of memory in a library is a fault of one file and not the end of the suite.
"""

import csv
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.timing import run_ours
from emotion_lightning.app import answer
from emotion_lightning.config.schema import Audio
from emotion_lightning.corpora import Clip
from emotion_lightning.data import audio, cache
from emotion_lightning.data.audio import BadClip
from emotion_lightning.serving import package
from trust import sound_programs
from trust.damaged_sounds import EITHER, READ, REFUSED, Case, Sounds, written
from trust.rows import Row, Setting
from trust.workers import Lost, Worker

SECONDS = 20  # of one file
MEGABYTES = 3_000  # that all files together may add to a process
FFMPEG_SHARE = 0.005  # by which its length may differ: it reads an incomplete block at the end, or leaves it out


def rows(setting: Setting) -> Iterator[Row]:
    sounds = Sounds(setting.work / "originals", setting.seed)
    model = _model(setting.work)
    yield _each("the decoder", _Decoding, setting.times(5_000, 60), setting)
    yield _each("predict, file by file", partial(_Predicting, model), setting.times(5_000, 60), setting)
    yield sound_programs.folder_row(model, sounds, setting.times(600, 40), setting)
    yield sound_programs.names_row(model, sounds, setting)
    yield _long(model, sounds, setting)
    yield _each("the app's answer", partial(_Showing, model), setting.times(300, 20), setting)
    yield _table(sounds, setting.times(400, 40), setting)
    yield sound_programs.server_row(model, sounds, setting.times(400, 40), setting)


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
    return Row(label, times, tuple(faults), f"{sound_programs.counts(outcomes)}; the slowest took {slowest:.1f} s")


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
        for (name, (seconds, reason)), timeline in (
            (item, flag) for item in wanted.items() for flag in (False, True)
        ):
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
