"""What a run came to: the one look at the test side, and the figures, tables and pictures that are kept of it."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import mlflow
import torch
from torch import Tensor

from emotion_lightning.config.schema import Experiment
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.protocols import SIDES
from emotion_lightning.tracking import run as tracking
from emotion_lightning.training import fit as learn
from emotion_lightning.training import metrics


@dataclass(frozen=True)
class Result:
    """What a run came to. `figures` holds best/* and test/*; `probabilities` and `labels` are of the test side."""

    run_id: str
    address: str
    figures: dict[str, float]
    classes: tuple[str, ...]
    labels: Tensor
    probabilities: Tensor
    seconds: float


def conclude(
    experiment: Experiment, data: EmotionData, fitted: learn.Fitted, tracked: tracking.Tracked, folder: Path
) -> Result:
    """Reads the test side, once, and writes down figures, tables and pictures."""
    from emotion_lightning.training import plots as draw

    with data.reads.purpose("test"):
        seen = {side: learn.probabilities(fitted.classifier, data, data.split.side(side)) for side in ("val", "test")}
    labels = {side: data.labels[torch.from_numpy(data.split.side(side))] for side in seen}
    figures = {f"best/{k}": v for k, v in metrics.scores(labels["val"], seen["val"]).items()}
    figures |= {f"test/{k}": v for k, v in metrics.scores(labels["test"], seen["test"]).items()}
    figures |= {"seconds": fitted.seconds, **_speakers(data)}
    per_class = metrics.per_class(labels["test"], seen["test"])
    figures |= {f"test/recall/{c}": float(r) for c, r in zip(data.classes, per_class.recall, strict=True) if r == r}
    if fitted.epoch is not None:
        figures["best/epoch"] = fitted.epoch
    tracked.final(figures)
    folder.mkdir(parents=True, exist_ok=True)
    _write_predictions(folder / "predictions.csv", data, seen)
    _write_per_class(folder / "per_class.csv", data.classes, per_class)
    title = experiment.mark + f"{experiment.name} · {experiment.protocol.name}"
    counts = metrics.confusion(labels["test"], seen["test"])
    draw.confusion(counts, data.classes, f"{title} · test side").savefig(folder / "confusion.png", dpi=120)
    if fitted.epoch is not None:
        history = tracked.history(["loss/train", "loss/val", "uar/train", "uar/val"])
        draw.loss_gap(history, title).savefig(folder / "loss_gap.png", dpi=120)
    mlflow.log_artifacts(str(folder))
    mlflow.set_tag("mlflow.note.content", _note(title, data, figures))
    return Result(tracked.id, tracked.address(), figures, data.classes, labels["test"], seen["test"], fitted.seconds)


def _note(title: str, data: EmotionData, figures: dict[str, float]) -> str:
    """The run's description on its MLflow page: what was tested on whom, and what came out."""
    known, all_ = (round(figures[f"test/{key}"]) for key in ("speakers_trained_on", "speakers"))
    rows = [
        f"| {name} | "
        + " | ".join(f"{figures[f'{key}/{metric}']:.3f}" for metric in ("accuracy", "f1", "uar", "loss"))
        + " |"
        for name, key in (("validation, best epoch", "best"), ("**test**", "test"))
    ]
    return "\n".join(
        [
            f"**{title}**: {sides(data)}. **{known} of the {all_} test speakers were trained on.**",
            "",
            "| | accuracy | macro F1 | UAR | loss |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


def _speakers(data: EmotionData) -> dict[str, float]:
    train, test = ({data.clips[i].speaker for i in data.split.side(side)} for side in ("train", "test"))
    return {"test/speakers": len(test), "test/speakers_trained_on": len(test & train)}


def _write_predictions(file: Path, data: EmotionData, seen: dict[str, Tensor]) -> None:
    """One row a clip of the validation and test sides, with the probability of each class."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["side", "corpus", "clip", "speaker", "emotion", "predicted", *data.classes])
        for side, probabilities in seen.items():
            for index, row in zip(data.split.side(side), probabilities, strict=True):
                clip = data.clips[index]
                predicted = data.classes[int(row.argmax())]
                writer.writerow(
                    [
                        side,
                        clip.corpus,
                        clip.id,
                        clip.speaker,
                        clip.emotion,
                        predicted,
                        *(f"{p:.6f}" for p in row.tolist()),
                    ]
                )


def _write_per_class(file: Path, classes: Iterable[str], scores: metrics.PerClass) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["emotion", "clips", "recall", "f1"])
        for emotion, clips, recall, f1 in zip(classes, scores.clips, scores.recall, scores.f1, strict=True):
            writer.writerow([emotion, int(clips), f"{recall:.4f}", f"{f1:.4f}"])


def sides(data: EmotionData) -> str:
    """ "1728 train / 96 val / 96 test clips"."""
    return " / ".join(f"{len(data.split.side(side))} {side}" for side in SIDES) + " clips"
