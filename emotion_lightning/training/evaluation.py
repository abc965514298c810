"""Evaluates a fitted model on the test split, once, and logs its scores, tables and plots."""

import csv
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import mlflow
import torch
from torch import Tensor

from emotion_lightning.config.schema import Experiment
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.protocols import SPLITS
from emotion_lightning.tracking.run import Tracked
from emotion_lightning.training import calibration, metrics
from emotion_lightning.training.calibration import Calibration
from emotion_lightning.training.fit import Fitted
from emotion_lightning.training.inference import probabilities
from emotion_lightning.training.predictions import write_predictions
from emotion_lightning.weights import Origin


@dataclass(frozen=True)
class RunResult:
    """The outcome of one run.

    `figures` holds best/* (validation) and test/*. Of the test split's N clips: `labels` (N,), `probabilities` (N, classes).
    """

    run_id: str
    address: str
    figures: dict[str, float]
    classes: tuple[str, ...]
    labels: Tensor
    probabilities: Tensor
    seconds: float
    calibration: Calibration


def evaluate_and_log(
    experiment: Experiment, data: EmotionData, fitted: Fitted, tracked: Tracked, folder: Path
) -> RunResult:
    """Reads the test split, once, and logs scores, tables and plots to MLflow by way of `folder`."""
    with data.access_log.purpose("test"):
        models = {"val": fitted.model, "test": fitted.tested}
        predicted = {name: probabilities(model, data, data.split.indices(name)) for name, model in models.items()}
    labels = {name: data.labels[torch.from_numpy(data.split.indices(name))] for name in predicted}
    per_class = metrics.per_class(labels["test"], predicted["test"])
    figures = {f"best/{k}": v for k, v in metrics.scores(labels["val"], predicted["val"]).items()}
    figures |= {f"test/{k}": v for k, v in metrics.scores(labels["test"], predicted["test"]).items()}
    figures["test/ece_if_calibrated"] = metrics.ece_if_calibrated(predicted["test"])
    scale = calibration.calibrate(labels["val"], predicted["val"], experiment.answer.coverage)
    figures |= {f"test/{k}": v for k, v in calibration.scores(scale, labels["test"], predicted["test"]).items()}
    figures["best/temperature"] = scale.temperature
    figures |= _uar_by_group(data, labels["test"], predicted["test"])
    figures |= {"seconds": fitted.seconds, **_speaker_counts(data)}
    recalls = zip(data.classes, per_class.recall.tolist(), strict=True)
    figures |= {f"test/recall/{emotion}": recall for emotion, recall in recalls if not math.isnan(recall)}
    if fitted.epoch is not None:
        figures["best/epoch"] = fitted.epoch
    tracked.log_final(figures)

    folder.mkdir(parents=True, exist_ok=True)
    write_predictions(folder / "predictions.csv", data, predicted)
    _write_per_class(folder / "per_class.csv", data.classes, per_class)
    title = f"{experiment.title_prefix}{experiment.name} · {experiment.protocol.name}"
    counts = metrics.confusion(labels["test"], predicted["test"])
    _draw(folder, title, data.classes, counts, tracked if fitted.epoch is not None else None)
    _log_calibration(folder, title, scale, labels["test"], predicted["test"])
    mlflow.log_artifacts(str(folder))
    mlflow.set_tag("mlflow.note.content", _note(title, data, figures, fitted.model.pretrained))
    return RunResult(
        tracked.id, tracked.address(), figures, data.classes, labels["test"], predicted["test"], fitted.seconds, scale
    )


def _draw(folder: Path, title: str, classes: tuple[str, ...], counts: Tensor, tracked: Tracked | None) -> None:
    """Draws the confusion matrix (classes, classes) and, of a run with epochs, the loss curves."""
    from emotion_lightning.training import plots

    plots.confusion(counts, classes, f"{title} · test split").savefig(folder / "confusion.png", dpi=120)
    if tracked:
        history = tracked.history(["loss/train", "loss/val", "uar/train", "uar/val"])
        plots.loss_gap(history, title).savefig(folder / "loss_gap.png", dpi=120)


def _log_calibration(folder: Path, title: str, scale: Calibration, labels: Tensor, probabilities: Tensor) -> None:
    """Draws the calibration of the test split, and writes the accuracy for each share of answered clips."""
    from emotion_lightning.training import plots

    calibrated = scale.apply(probabilities)
    curve = calibration.answered(labels, calibrated)
    plots.calibration(labels, probabilities, calibrated, curve, title).savefig(folder / "calibration.png", dpi=120)
    with (folder / "answered.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["min_confidence", "share_answered", "accuracy"])
        rows = zip(curve.confidence.tolist(), curve.share.tolist(), curve.accuracy.tolist(), strict=True)
        writer.writerows([f"{value:.6f}" for value in row] for row in rows)


def _note(title: str, data: EmotionData, figures: dict[str, float], weights: Iterable[Origin]) -> str:
    """Writes the run's description for its MLflow page: the sizes of the splits, known speakers, scores, outside weights."""
    known, total = (round(figures[f"test/{key}"]) for key in ("speakers_trained_on", "speakers"))
    rows = [
        f"| {name} | "
        + " | ".join(f"{figures[f'{key}/{metric}']:.3f}" for metric in ("accuracy", "f1", "uar", "loss"))
        + " |"
        for name, key in ((validation_label(figures), "best"), ("**test**", "test"))
    ]
    return "\n".join(
        [
            f"**{title}**: {split_sizes(data)}. **{known} of the {total} test speakers were trained on.**",
            "",
            "| | accuracy | macro F1 | UAR | loss |",
            "|---|---|---|---|---|",
            *rows,
            *(f"\n{origin.sentence()}" for origin in weights),
        ]
    )


def validation_label(figures: Mapping[str, float]) -> str:
    """Returns the label of the validation scores, with the epoch of the weights if the model trains in epochs."""
    return f"validation, epoch {figures['best/epoch']:.0f}" if "best/epoch" in figures else "validation"


def _uar_by_group(data: EmotionData, labels: Tensor, probabilities: Tensor) -> dict[str, float]:
    """Returns the test UAR of each corpus, sex and intensity (`test/uar/sex/female`), where the test split has several."""
    figures = {}
    for field in metrics.GROUP_FIELDS:
        of_clip = [getattr(data.clips[i], field) for i in data.split.test]
        values = sorted(set(of_clip) - {""})
        if len(values) < 2:
            continue
        for value in values:
            mask = torch.tensor([other == value for other in of_clip])
            name = re.sub(r"[^\w .-]", "_", value)  # the characters that MLflow allows
            figures[f"test/uar/{field}/{name}"] = metrics.scores(labels[mask], probabilities[mask])["uar"]
    return figures


def _speaker_counts(data: EmotionData) -> dict[str, float]:
    train, test = ({data.clips[i].speaker for i in data.split.indices(name)} for name in ("train", "test"))
    return {"test/speakers": len(test), "test/speakers_trained_on": len(test & train)}


def _write_per_class(file: Path, classes: Iterable[str], scores: metrics.PerClass) -> None:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["emotion", "clips", "recall", "f1"])
        for emotion, clips, recall, f1 in zip(classes, scores.clips, scores.recall, scores.f1, strict=True):
            writer.writerow([emotion, int(clips), f"{recall:.4f}", f"{f1:.4f}"])


def split_sizes(data: EmotionData) -> str:
    """Returns the sizes of the splits: "1728 train / 96 val / 96 test clips"; rows where clips have variants."""
    noun = "rows" if any(clip.variant for clip in data.clips) else "clips"
    return " / ".join(f"{len(data.split.indices(name))} {name}" for name in SPLITS) + f" {noun}"
