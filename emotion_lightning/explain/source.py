"""Reads what the pages show of a run: its settings, its predictions of the test split, and the clips if they are here."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlflow.entities import Run
from rich.console import Console

from emotion_lightning.config import loader
from emotion_lightning.config.schema import Experiment
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.data.filesystem import digest
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import SPLITS
from emotion_lightning.tracking import store
from emotion_lightning.training import kept
from emotion_lightning.training.build import build_data
from emotion_lightning.training.predictions import Predictions, read_predictions


@dataclass(frozen=True)
class Explained:
    """A run with its settings and its predictions of the test split."""

    run: Run
    experiment: Experiment
    predictions: Predictions

    @property
    def id(self) -> str:
        """The beginning of the run's id, which names the folder of its pages."""
        return str(self.run.info.run_id[:8])

    @property
    def title(self) -> str:
        """The run's title with its marks: "DEMO · svm · speaker_folds · fold 0"."""
        fold = self.run.data.tags.get("fold")
        protocol = self.experiment.protocol.name + (f" · fold {fold}" if fold else "")
        return f"{self.experiment.title_prefix}{self.experiment.name} · {protocol}"

    @property
    def speakers(self) -> str:
        """A sentence that says how many test speakers were trained on."""
        if self.experiment.is_leaky:
            return "LEAKY: rows made from one clip are in both training and test, a mistake rebuilt on purpose."
        logged = self.run.data.metrics
        if "test/speakers" not in logged:
            return "The run did not log how many test speakers were trained on."
        known, total = (round(logged[f"test/{key}"]) for key in ("speakers_trained_on", "speakers"))
        if known == 0:
            return f"None of the {total} test speakers was trained on: the scores are for unseen speakers."
        return f"{known} of the {total} test speakers were trained on: the scores are for known speakers."


@dataclass(frozen=True)
class Clips:
    """The clips of a run, with their rows in `data` by the name that predictions give them (corpus/id)."""

    data: EmotionData
    rows: dict[str, int]
    note: str  # how they differ from those of the run, or ""


def read(run_id: str, changes: Sequence[str] = ()) -> Explained:
    """Reads a run from MLflow; `changes` replace settings, for example the folder of the corpora.

    Raises: UserError where there is no such run, or where it has no predictions.
    """
    run = kept.find(run_id)
    predictions = read_predictions(run)
    with store.artifact(run, "settings.yaml") as settings:
        experiment = loader.load(str(settings), changes)
    name = run.data.tags.get("experiment", experiment.name)
    return Explained(run, experiment.model_copy(update={"name": name}), predictions)


def open_clips(explained: Explained, console: Console) -> Clips:
    """Rebuilds the data of the run, and compares them with those that it logged.

    Raises: UserError where the corpora are not here.
    """
    data = build_data(explained.experiment, console)
    rows = {f"{clip.corpus}/{clip.id}": row for row, clip in enumerate(data.clips)}
    if missing := [name for name in explained.predictions.clips if name not in rows]:
        raise UserError(f"{len(missing)} test clips of the run are not here, such as {missing[0]}")
    return Clips(data, rows, _difference(data, explained.run.data.tags))


def _difference(data: EmotionData, tags: dict[str, str]) -> str:
    if tags.get("data/digest") == data.digest(*SPLITS):
        return ""
    if tags.get("data/clips") == digest([(c.corpus, c.id, c.emotion) for c in data.clips]):
        return (
            "The clips and their labels are those of the run, but their sound, their features or their split have changed "
            "since, for example with the version of the code: the map of the clips may differ from what the run saw."
        )
    return (
        "ATTENTION: the clips or their labels here differ from those of the run. Sounds and spectrograms were found by the "
        "names of the clips, and the map of the clips may differ from what the run saw."
    )


def with_sentences(explained: Explained, clips: Clips) -> Explained:
    """Returns the run with the sentence of each clip, which predictions of older versions lack."""
    sentences = [clips.data.clips[clips.rows[name]].sentence for name in explained.predictions.clips]
    fields = {**explained.predictions.fields, "sentence": sentences}
    return replace(explained, predictions=replace(explained.predictions, fields=fields))


def folder(explained: Explained) -> Path:
    """Returns the folder of the run's pages."""
    return Path("reports") / "explain" / explained.id
