"""The file predictions.csv of a run: the probabilities of each clip of its validation and test splits."""

import csv
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from mlflow.entities import Run
from numpy.typing import NDArray
from torch import Tensor

from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.errors import UserError
from emotion_lightning.tracking import store
from emotion_lightning.training.metrics import GROUP_FIELDS

FIELDS = (*GROUP_FIELDS, "sentence")


@dataclass(frozen=True)
class Predictions:
    """The predictions of one run on its test split."""

    classes: tuple[str, ...]
    clips: list[str]  # (N,) corpus/id
    speakers: list[str]  # (N,)
    labels: NDArray[np.int64]  # (N,)
    probabilities: NDArray[np.float64]  # (N, classes)
    fields: dict[str, list[str]]  # for each of FIELDS, its value for each clip (N,), "" where it is not known

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        return self.probabilities.argmax(1)

    def in_order(self) -> "Predictions":
        """Returns the same predictions, sorted by clip."""
        order = np.argsort(self.clips)
        clips, speakers, *values = (
            [names[i] for i in order] for names in (self.clips, self.speakers, *self.fields.values())
        )
        fields = dict(zip(self.fields, values, strict=True))
        return Predictions(self.classes, clips, speakers, self.labels[order], self.probabilities[order], fields)


def write_predictions(file: Path, data: EmotionData, predicted: dict[str, Tensor]) -> None:
    """Writes one row for each clip of the validation and test splits, with the probability of each class."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        fields = ["corpus", "clip", "speaker", "sex", "intensity", "sentence", "emotion"]
        writer.writerow(["split", *fields, "predicted", *data.classes])
        for name, rows in predicted.items():
            for index, row in zip(data.split.indices(name), rows, strict=True):
                clip = data.clips[index]
                emotion = data.classes[int(row.argmax())]
                shares = [f"{p:.6f}" for p in row.tolist()]
                about = [clip.corpus, clip.id, clip.speaker, clip.sex, clip.intensity, clip.sentence, clip.emotion]
                writer.writerow([name, *about, emotion, *shares])


def read_predictions(run: Run) -> Predictions:
    """Reads the test split of the predictions that a run keeps.

    Raises: UserError where the run has no predictions.csv.
    """
    with ExitStack() as open_file:
        try:
            file = open_file.enter_context(store.artifact(run, "predictions.csv"))
        except Exception as error:
            raise UserError(f"run {run.info.run_id[:8]} ({run.info.status}) has no predictions.csv") from error
        return parse_predictions(file)


def parse_predictions(file: Path) -> Predictions:
    """Reads the test split of a predictions.csv.

    Its columns are those of `write_predictions`. Older runs have no sex, intensity and sentence, and some call the first
    column `side`.
    """
    with file.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream)
    rows = [row for row in rows if row[0] == "test"]
    columns = {name: [row[number] for row in rows] for number, name in enumerate(header)}
    first = header.index("predicted") + 1
    classes = tuple(header[first:])
    return Predictions(
        classes,
        [f"{corpus}/{clip}" for corpus, clip in zip(columns["corpus"], columns["clip"], strict=True)],
        columns["speaker"],
        np.array([classes.index(emotion) for emotion in columns["emotion"]]),
        np.array([[float(p) for p in row[first:]] for row in rows]),
        {field: columns.get(field, [""] * len(rows)) for field in FIELDS},
    )
