"""Recogniser: a trained model with its calibration, for recordings of any rate and length."""

import math
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from emotion_lightning.data import audio
from emotion_lightning.data.audio import BadClip, Waveform
from emotion_lightning.data.filesystem import parallel
from emotion_lightning.serving.about import About
from emotion_lightning.serving.windows import UNCERTAIN, Segment, Windows, blocks, level, segments, windows
from emotion_lightning.training.calibration import Calibration
from emotion_lightning.training.inference import EmotionModel

Item = TypeVar("Item")
TOGETHER = 16  # files or rows that one core answers together
BATCH = 32  # clips; more are no faster on a processor
WHOLE_SECONDS = 120  # a longer file is read block by block
OTHER_FORMATS = {".m4a", ".mp4", ".aac", ".wma", ".amr", ".3gp", ".webm", ".mkv", ".mov"}
"""Formats that libsndfile does not read and ffmpeg does."""
FFMPEG_SECONDS = 600  # a day of sound takes less


@dataclass(frozen=True)
class Recognition:
    """The answer for one recording.

    `probabilities` are calibrated. `emotions` is the set that contains the true emotion with the probability that the model was
    calibrated for, most probable first. `windows` is 1 for a recording that was heard as a whole.
    """

    probabilities: dict[str, float]
    emotions: tuple[str, ...]
    seconds: float
    windows: int
    min_confidence: float
    segments: tuple[Segment, ...] = ()

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """Returns emotions and probabilities, most probable first."""
        return sorted(self.probabilities.items(), key=lambda item: -item[1])

    @property
    def confidence(self) -> float:
        """Returns the highest probability."""
        return max(self.probabilities.values())

    @property
    def emotion(self) -> str:
        """Returns the most probable emotion, or "uncertain" below the least confidence."""
        return self.ranked[0][0] if self.confidence >= self.min_confidence else UNCERTAIN


Loaded = Waveform | BadClip | Recognition
"""A waveform (samples,) as training has it, the answer for a recording that is too long for that, or a fault."""


class Recogniser:
    """Emotions of recordings. The same input gives the same answer, whatever else is in the batch."""

    def __init__(self, model: EmotionModel, about: About, min_confidence: float | None = None):
        self.model, self.about = model.eval(), about
        self.calibration = Calibration(**about.calibration.model_dump())
        self.min_confidence = about.min_confidence if min_confidence is None else min_confidence
        self.audio = model.classifier.experiment.audio
        self.rate = about.sample_rate

    def probabilities(self, waves: Sequence[Waveform]) -> NDArray[np.float32]:
        """Returns calibrated probabilities (N, classes) of waveforms (samples,) at `rate`, trimmed as in training."""
        order = sorted(range(len(waves)), key=lambda i: len(waves[i]))  # clips of one length need no padding
        result = torch.empty(len(waves), len(self.about.classes))
        for batch in batched(order, BATCH):
            tensors = [torch.from_numpy(np.ascontiguousarray(waves[i], np.float32)) for i in batch]
            lengths = torch.tensor([len(tensor) for tensor in tensors])
            with torch.inference_mode():
                raw = self.model(torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True), lengths)
            result[batch] = self.calibration.apply(raw.float())
        return result.numpy()

    def recognise(self, waves: Sequence[tuple[Waveform, int]]) -> list[Recognition | BadClip]:
        """Returns an answer for each waveform (samples,) or (samples, channels) with its rate in Hz, or why there is none."""
        return list(self.each(lambda sound: self.prepared(*sound), waves))

    def file(self, path: Path, timeline: bool = False) -> Recognition:
        """Returns the answer for a file; with `timeline`, also the segments of one emotion.

        Raises:
            BadClip: the file cannot be decoded, is silent or too short.
        """
        [answer] = self._answers([self._loaded(path, timeline)])
        if isinstance(answer, BadClip):
            raise answer
        return answer

    def files(self, paths: Iterable[Path]) -> Iterator[Recognition | BadClip]:
        """Yields the answer for each file in order, or why there is none."""
        return self.each(self._loaded, paths)

    def each(self, load: Callable[[Item], Loaded], items: Iterable[Item]) -> Iterator[Recognition | BadClip]:
        """Yields the answer for each item in order, or why there is none; `load` gives its sound. One batch on each core."""

        def answers(batch: Sequence[Item]) -> list[Recognition | BadClip]:
            return self._answers([load(item) for item in batch])

        for batch in parallel(answers, list(batched(items, TOGETHER)), together=1):
            yield from batch

    def _loaded(self, path: Path, timeline: bool = False) -> Loaded:
        """Returns the waveform of a file, or the answer for one that is read block by block, or its fault."""
        try:
            with decodable(path) as readable:
                if timeline or header_seconds(readable) > WHOLE_SECONDS:
                    return self._recording(blocks(readable, self.rate), timeline)
                return audio.load(readable, self.audio)
        except BadClip as fault:
            return fault

    def prepared(self, wave: NDArray[np.floating], rate: int) -> Waveform | BadClip:
        """Returns a waveform (samples,) or (samples, channels) with its rate in Hz as training has it, or its fault."""
        samples = np.asarray(wave, np.float32)
        try:
            return audio.prepare(audio.mono(samples[:, None] if samples.ndim == 1 else samples), rate, self.audio)
        except BadClip as fault:
            return fault

    def _answers(self, waves: Sequence[Loaded]) -> list[Recognition | BadClip]:
        """Answers for waveforms, with a fault where there is no answer; a fault or an answer stays as it is."""
        answers: list[Recognition | BadClip] = []
        whole = [w for w in waves if isinstance(w, np.ndarray) and not self._is_long(w)]
        rows = iter(self.probabilities(whole))
        for wave in waves:
            if not isinstance(wave, np.ndarray):
                answers.append(wave)
            elif self._is_long(wave):
                answers.append(self._long(wave))
            else:
                answers.append(self._recognition(next(rows), len(wave) / self.rate, 1))
        return answers

    def _long(self, wave: Waveform) -> Recognition | BadClip:
        try:
            return self._recording([wave], False)
        except BadClip as fault:
            return fault

    def _is_long(self, wave: Waveform) -> bool:
        return len(wave) > self.about.longest_seconds * self.rate

    def _recording(self, pieces: Iterable[Waveform], timeline: bool) -> Recognition:
        """Answers for a long recording by the mean of its windows.

        Raises:
            BadClip: no window has sound.
        """
        heard = self._windows(pieces)
        if not len(heard.starts):
            raise BadClip("silent or too short")
        found = segments(heard, self.rate, self.about.classes, self.min_confidence) if timeline else ()
        return self._recognition(heard.mean, heard.end / self.rate, len(heard.starts), tuple(found))

    def _windows(self, pieces: Iterable[Waveform]) -> Windows:
        size = max(1, round(self.about.median_seconds * self.rate))
        starts, levels, rows, end = [], [], [], 0
        for batch in batched(windows(pieces, size, max(1, size // 2)), BATCH):
            waves = [(start, wave, self.prepared(wave, self.rate)) for start, wave in batch]
            end = batch[-1][0] + len(batch[-1][1])
            usable = [(start, level(wave), ready) for start, wave, ready in waves if not isinstance(ready, BadClip)]
            starts += [start for start, _, _ in usable]
            levels += [decibel for _, decibel, _ in usable]
            rows.append(self.probabilities([ready for _, _, ready in usable]))
        probabilities = np.concatenate(rows) if rows else np.zeros((0, len(self.about.classes)), np.float32)
        return Windows(np.array(starts, np.int64), size, end, probabilities, np.array(levels))

    def _recognition(
        self, row: NDArray[np.float32], seconds: float, count: int, found: tuple[Segment, ...] = ()
    ) -> Recognition:
        chosen = self.calibration.sets(torch.from_numpy(row)[None])[0]
        emotions = [self.about.classes[i] for i in np.argsort(-row, kind="stable") if chosen[i]]
        probabilities = dict(zip(self.about.classes, map(float, row), strict=True))
        return Recognition(probabilities, tuple(emotions), seconds, count, self.min_confidence, found)


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yields lists of `size` items, the last one shorter."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


@contextmanager
def decodable(path: Path) -> Iterator[Path]:
    """Gives a file that libsndfile reads: the file itself, or what ffmpeg makes of a format such as m4a.

    Raises:
        BadClip: ffmpeg is needed and is not installed, or cannot decode the file.
    """
    if path.suffix.lower() not in OTHER_FORMATS:
        yield path
        return
    if not (ffmpeg := shutil.which("ffmpeg")):
        raise BadClip(f"{path.suffix} needs ffmpeg, which is not installed; convert the file to .wav")
    with TemporaryDirectory() as folder:
        made = Path(folder) / "decoded.wav"
        command = [ffmpeg, "-nostdin", "-v", "error", "-i", str(path.resolve()), "-vn", str(made)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", check=False, timeout=FFMPEG_SECONDS
            )
        except subprocess.TimeoutExpired:
            raise BadClip(f"ffmpeg has not decoded it within {FFMPEG_SECONDS} s; convert the file to .wav") from None
        if done.returncode or not made.exists():
            raise BadClip(f"ffmpeg cannot decode it ({' '.join(done.stderr.split())[-160:]})")
        yield made


def header_seconds(path: Path) -> float:
    """Returns the length that the header says, 0 where it says none: then decoding finds the fault."""
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError):
        return 0.0
    return info.frames / info.samplerate if info.samplerate and math.isfinite(info.frames) else 0.0
