"""One run from start to end: data, network, MLflow run, training, one look at the test side, all of it written down."""

import csv
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import mlflow
import numpy as np
import torch
import yaml
from lightning.fabric.utilities.rank_zero import rank_zero_only
from rich.console import Console
from rich.progress import track
from torch import Tensor

from emotion_lightning import learn, metrics, tracking
from emotion_lightning.classifier import EmotionClassifier
from emotion_lightning.data import EmotionData
from emotion_lightning.experiment import Experiment
from emotion_lightning.protocols import SIDES
from emotion_lightning.servable import from_checkpoint


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


def train(experiment: Experiment, console: Console, resume: str | None = None) -> Result | None:
    """Runs the experiment. None on the ranks of a distributed run that only lend a hand."""
    learn.prepare_machine()
    chief = getattr(rank_zero_only, "rank", 0) == 0
    console = console if chief else Console(quiet=True)
    L.seed_everything(experiment.seed, verbose=False)
    data, classifier = build(experiment, console)
    if not chief:
        learn.fit(
            experiment, data, classifier, work_folder(resume or "other-rank"), lambda *_: None, console, bool(resume)
        )
        return None
    with tracking.run(experiment, _tags(experiment, data), resume) as tracked:
        work = work_folder(tracked.id)
        console.print(
            f"run {tracked.id[:8]} · {_sides(data)} · {len(data.classes)} emotions · {learn.precision(experiment.fit)}"
        )
        if not resume:
            _log_start(experiment, data)
        going_on = resume is not None and (work / "last.ckpt").exists()
        fitted = learn.fit(experiment, data, classifier, work, tracked.epoch, console, going_on)
        result = _conclude(experiment, data, fitted, tracked, work / "outputs")
        if experiment.fit.log_model:
            for checkpoint in (fitted.best, fitted.last):
                mlflow.log_artifact(str(checkpoint), "checkpoints")
            _log_model(fitted.best if experiment.fit.keep == "best" else fitted.last)
    shutil.rmtree(work)
    return result


def build(experiment: Experiment, console: Console) -> tuple[EmotionData, EmotionClassifier]:
    """Data and network, every part of them made and checked; nothing is trained and no run is opened."""

    def with_bar(items: Iterable[Any], what: str, count: int) -> Iterable[Any]:
        return track(items, what, count, console=console, transient=True, disable=not console.is_terminal)

    data = EmotionData(experiment, with_bar)
    data.setup()
    for note in data.notes:
        console.print(f"[yellow]note:[/] {note}")
    first = data.gather(torch.tensor([0]), torch.device("cpu"))
    channels, bands, frames = data.feature.present(first.stored).shape[1:]
    classifier = EmotionClassifier(experiment, data.feature, (channels, bands, frames), data.classes)
    classifier.learn_from(data)
    return data, classifier


def work_folder(run_id: str) -> Path:
    """Where the checkpoints of a run lie until it has finished."""
    return tracking.ROOT / "checkpoints" / run_id


def _sides(data: EmotionData) -> str:
    return " / ".join(f"{len(data.split.side(side))} {side}" for side in SIDES) + " clips"


def _tags(experiment: Experiment, data: EmotionData) -> dict[str, str]:
    device = torch.cuda.get_device_name() if learn.on_gpu(experiment.fit) else "cpu"
    tags = {
        "experiment": experiment.name,
        "signature": experiment.signature(),
        "protocol": experiment.protocol.name,
        "corpora": "+".join(experiment.corpora),
        "data/digest": data.digest(*SIDES),
        "seed": str(experiment.seed),
        "DEMO": str(experiment.is_demo),
        "machine/precision": learn.precision(experiment.fit),
        "machine/devices": str(experiment.fit.devices),
        **tracking.machine(device),
        **tracking.commit(),
    }
    if "fold" in experiment.protocol.args:
        tags["fold"] = str(experiment.protocol.args["fold"])
    return tags


def _log_start(experiment: Experiment, data: EmotionData) -> None:
    """Settings, environment, data and bad clips: what is known before the first step."""
    mlflow.log_text(yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False), "settings.yaml")
    mlflow.log_text(tracking.environment(), "environment.txt")
    name = ("DEMO " if experiment.is_demo else "") + "+".join(experiment.corpora)
    for side in SIDES:
        clips = [data.clips[i] for i in data.split.side(side)]
        counts = {f"clips/{emotion}": str(n) for emotion, n in Counter(c.emotion for c in clips).items()}
        speakers = str(len({clip.speaker for clip in clips}))
        tracking.log_data(name, data.digest(side), side, {"clips": str(len(clips)), "speakers": speakers, **counts})
    if data.bad_clips:
        mlflow.log_text("\n".join(data.bad_clips), "bad_clips.txt")
        mlflow.set_tag("bad_clips", str(len(data.bad_clips)))


def _conclude(
    experiment: Experiment, data: EmotionData, fitted: learn.Fitted, tracked: tracking.Tracked, folder: Path
) -> Result:
    """Reads the test side, once, and writes down figures, tables and pictures."""
    from emotion_lightning.report import figures as draw  # matplotlib is not needed until now

    seen = {side: learn.probabilities(fitted.classifier, data, data.split.side(side)) for side in ("val", "test")}
    labels = {side: data.labels[torch.from_numpy(data.split.side(side))] for side in seen}
    figures = {f"best/{k}": v for k, v in metrics.scores(labels["val"], seen["val"]).items()}
    figures |= {f"test/{k}": v for k, v in metrics.scores(labels["test"], seen["test"]).items()}
    figures |= {"best/epoch": fitted.epoch, "seconds": fitted.seconds}
    per_class = metrics.per_class(labels["test"], seen["test"])
    figures |= {f"test/recall/{c}": float(r) for c, r in zip(data.classes, per_class.recall, strict=True) if r == r}
    tracked.final(figures)
    folder.mkdir(parents=True, exist_ok=True)
    _write_predictions(folder / "predictions.csv", data, seen)
    _write_per_class(folder / "per_class.csv", data.classes, per_class)
    title = ("DEMO · " if experiment.is_demo else "") + f"{experiment.name} · {experiment.protocol.name}"
    counts = metrics.confusion(labels["test"], seen["test"])
    draw.confusion(counts, data.classes, f"{title} · test side").savefig(folder / "confusion.png", dpi=120)
    history = tracked.history(["loss/train", "loss/val", "uar/train", "uar/val"])
    draw.loss_gap(history, title).savefig(folder / "loss_gap.png", dpi=120)
    mlflow.log_artifacts(str(folder))
    return Result(tracked.id, tracked.address(), figures, data.classes, labels["test"], seen["test"], fitted.seconds)


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


def _log_model(checkpoint: Path) -> None:
    """Waveforms → probabilities as an MLflow model. Our code travels with it; a user's own parts must be on the path
    where it is loaded."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    model = from_checkpoint(checkpoint)
    waves, probabilities = (TensorSpec(np.dtype("float32"), (-1, width)) for width in (-1, len(model.classes)))
    mlflow.pytorch.log_model(
        model,
        name="model",
        signature=ModelSignature(Schema([waves]), Schema([probabilities])),
        serialization_format="pickle",
        code_paths=[str(Path(__file__).parent)],
        pip_requirements=tracking.requirements(),
        metadata={"classes": list(model.classes)},
    )
