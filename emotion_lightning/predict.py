"""Predicts the emotions of audio files with the checkpoint of a run."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import torch

from emotion_lightning.corpora import DECODED, media_files
from emotion_lightning.data import audio
from emotion_lightning.errors import UserError
from emotion_lightning.tracking import store
from emotion_lightning.training.inference import from_checkpoint


@dataclass(frozen=True)
class Prediction:
    """The probability of each emotion for one file, or the reason why the file cannot be used."""

    path: Path
    probabilities: dict[str, float]
    fault: str = ""

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
    if not (files := [source] if source.is_file() else list(media_files(source, DECODED))):
        raise UserError(f"AUDIO: no audio file ({', '.join(sorted(DECODED))}) in '{source}'")
    client = store.connect()
    run = store.find_run(client, run_id)
    if run.data.tags.get("kind") == "study":
        name = run.data.tags.get("study", "")
        raise UserError(f"RUN: {run_id} is the run of the whole study {name}; name a run of one of its models")
    best = [a.path for a in client.list_artifacts(run.info.run_id, "checkpoints") if Path(a.path).stem == "best"]
    if not best:
        raise UserError(
            f"run {run_id} ({run.info.status}) has no checkpoint; RESUME={run_id} finishes a run that was killed, and "
            f'a run with SET="fit.log_model=true" stores one'
        )
    checkpoint = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=best[0])
    model = from_checkpoint(Path(checkpoint))
    settings = model.classifier.experiment.audio
    for file in files:
        try:
            wave = audio.load(file, settings)
        except audio.BadClip as fault:
            yield Prediction(file, {}, str(fault))
            continue
        with torch.inference_mode():
            probabilities = model(torch.from_numpy(wave)[None])[0]
        yield Prediction(file, dict(zip(model.classes, probabilities.tolist(), strict=True)))
