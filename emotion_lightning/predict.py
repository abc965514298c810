"""Predicts the emotions of audio files with the checkpoint of a run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from emotion_lightning.corpora import DECODED, media_files
from emotion_lightning.data import audio
from emotion_lightning.errors import UserError
from emotion_lightning.training import kept

UNREADABLE = {".m4a", ".mp4", ".aac", ".wma", ".amr", ".3gp", ".webm", ".mkv", ".mov"}
"""Formats of sound that people have and libsndfile does not read."""


@dataclass(frozen=True)
class Prediction:
    """The probability of each emotion for one file, or the reason why the file cannot be used."""

    path: Path
    probabilities: dict[str, float]
    fault: str = ""
    note: str = ""  # what part of a long or short file the model used

    @property
    def emotion(self) -> str:
        """Returns the most probable emotion, or "" for a file that cannot be used."""
        return max(self.probabilities, key=lambda e: self.probabilities[e]) if self.probabilities else ""


def predict(source: Path, run_id: str) -> Iterator[Prediction]:
    """Yields a prediction for `source`, or for each audio file in this folder, decoded with the run's settings.

    Raises:
        UserError: there is no audio file, no such run, or the run has no checkpoint.
    """
    if not source.exists():
        raise UserError(f"AUDIO: there is no file or folder '{source}'")
    if not (sounds := [source] if source.is_file() else list(media_files(source, DECODED | UNREADABLE))):
        raise UserError(f"AUDIO: no audio file ({', '.join(sorted(DECODED))}) in '{source}'")
    model = kept.model_of_files(kept.find(run_id))
    settings = model.classifier.experiment.audio
    for file in sounds:
        if file.suffix.lower() in UNREADABLE:
            yield Prediction(
                file, {}, f"{file.suffix} cannot be read; convert it, for example with ffmpeg -i FILE FILE.wav"
            )
            continue
        try:
            wave = audio.load(file, settings)
        except audio.BadClip as fault:
            yield Prediction(file, {}, str(fault))
            continue
        with torch.inference_mode():
            probabilities = model(torch.from_numpy(wave)[None])[0]
        by_emotion = dict(zip(model.classes, probabilities.tolist(), strict=True))
        yield Prediction(file, by_emotion, note=part_used(len(wave) / settings.sample_rate, model.used))


def part_used(seconds: float, used: tuple[float, float]) -> str:
    """Returns what to say of a file that is longer than the model uses, or ends before that part; else ""."""
    start, end = used
    if seconds <= start:
        return f"it ends before {start:.1f} s, where the part that the model uses begins"
    return f"only {start:.1f} s to {end:.1f} s of {seconds:.1f} s were used" if seconds > end else ""
