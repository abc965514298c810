"""Predicts the emotions of audio files with the model that a run kept."""

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
    """The probabilities of one clip by emotion, or the fault of the file."""

    path: Path
    probabilities: dict[str, float]
    fault: str = ""

    @property
    def emotion(self) -> str:
        """The most probable emotion, or "" for a bad file."""
        return max(self.probabilities, key=lambda e: self.probabilities[e]) if self.probabilities else ""


def predict(source: Path, run_id: str) -> Iterator[Prediction]:
    """Yields a prediction for each audio file at `source` (a file or a folder), decoded as the run's own clips were.

    Raises: UserError where there is no audio file, no such run, or no kept model.
    """
    if not source.exists():
        raise UserError(f"AUDIO: there is no file or folder '{source}'")
    if not (files := [source] if source.is_file() else list(media_files(source, DECODED))):
        raise UserError(f"AUDIO: no audio file ({', '.join(sorted(DECODED))}) below '{source}'")
    client = store.connect()
    run = store.find_run(client, run_id)
    kept = [a.path for a in client.list_artifacts(run.info.run_id, "checkpoints") if Path(a.path).stem == "best"]
    if not kept:
        raise UserError(
            f"run {run_id} ({run.info.status}) keeps no checkpoint; RESUME={run_id} finishes a killed one, and "
            f'SET="fit.log_model=true" keeps what is trained'
        )
    checkpoint = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=kept[0])
    model = from_checkpoint(Path(checkpoint))
    settings = model.classifier.experiment.audio
    for file in files:
        try:
            wave = audio.load(file, settings)
        except audio.BadClip as fault:
            yield Prediction(file, {}, str(fault))
            continue
        with torch.inference_mode():
            row = model(torch.from_numpy(wave)[None])[0]
        yield Prediction(file, dict(zip(model.classes, row.tolist(), strict=True)))
