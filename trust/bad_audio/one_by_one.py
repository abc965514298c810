"""Damaged files one after the other, in a process of its own: through the decoder, a model, and the app."""

import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from emotion_lightning.app import answer
from emotion_lightning.data import audio
from emotion_lightning.data.audio import BadClip
from emotion_lightning.serving import package
from trust.bad_audio.damaged_sounds import EITHER, REFUSED, Case, Sounds
from trust.rows import Row, Setting, counts
from trust.workers import Lost, Worker

SECONDS = 20  # of one file
MEGABYTES = 3_000  # that all files together may add to a process
FFMPEG_SHARE = 0.005  # by which its length may differ: it reads an incomplete block at the end, or leaves it out


class Files:
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


class Decoding(Files):
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


class Predicting(Files):
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


class Showing(Predicting):
    """Asks the app what its page shows of a file."""

    def _answer(self, case: Case, file: Path) -> tuple[str, str]:
        shown = answer.show(self.recogniser, file)
        if shown.probabilities is None:
            too_short = case.samples is not None and len(case.samples) < 0.5 * case.rate
            return "refused", "" if too_short else case.fault(None, 0, shown.text)
        return "read", _recognition_fault(case, shown.probabilities) or ("" if shown.spectrogram else "no picture")


def one_by_one(label: str, make: Callable[..., Files], times: int, setting: Setting) -> Row:
    """Gives the files 0, 1, … to a worker, and counts the outcomes."""
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
    return Row(label, times, tuple(faults), f"{counts(outcomes)}; the slowest took {slowest:.1f} s")
