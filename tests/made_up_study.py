"""A study that nobody ran: its plan, and runs whose predictions are known."""

import csv
from pathlib import Path

import mlflow
import numpy as np
from mlflow.entities import Metric
from mlflow.tracking import MlflowClient

from emotion_lightning.studies.plan import Plan, PlannedArm, PlannedCell
from emotion_lightning.tracking import run as tracking

CLASSES = ("neutral", "happy", "sad")
SEX = ("female", "male")  # by turns
SKILL = {"svm": 0.5, "lstm": 0.8}  # the share of clips that an arm has right, about
MISSING = "model.weights: the ImageNet weights | of resnet34 cannot be reached"


def drawn(arm: str, fold: int, seed: int) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
    """labels (60,), probabilities (60, 3), clips and speakers of one made-up run; six speakers a fold."""
    labels = np.arange(60) % 3
    chance = np.random.default_rng([fold, seed, len(arm)])
    guess = np.where(chance.random(60) < SKILL[arm], labels, chance.integers(0, 3, 60))
    probabilities = np.full((60, 3), 0.2)
    probabilities[np.arange(60), guess] = 0.6
    return labels, probabilities, [f"{fold}-{i}" for i in range(60)], [f"s{fold}{i % 6}" for i in range(60)]


def write_run(client: MlflowClient, place: str, cell: PlannedCell, folder: Path) -> None:
    """Logs the finished run of a cell to the MLflow experiment `place`; `folder` holds its predictions in between."""
    labels, probabilities, clips, speakers = drawn(cell.arm, cell.fold or 0, cell.seed)
    run = client.create_run(
        place, tags={"signature": cell.signature, "experiment": cell.arm, "protocol": cell.protocol}
    )
    with (folder / "predictions.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        names = ["split", "corpus", "clip", "speaker", "sex", "intensity", "emotion", "predicted"]
        writer.writerow([*names, *CLASSES])
        for i in range(60):
            emotion, guess = CLASSES[labels[i]], CLASSES[probabilities[i].argmax()]
            row = ["test", "demo", clips[i], speakers[i], SEX[i % 2], "", emotion, guess]
            writer.writerow([*row, *probabilities[i]])
        writer.writerow(["val", "demo", "v", "v", "male", "", "happy", "happy", 0, 1, 0])  # is not to be counted
    client.log_artifact(run.info.run_id, str(folder / "predictions.csv"))
    curve = [
        Metric(f"loss/{side}", 2 - 0.2 * e * (side == "train"), 0, e) for e in range(4) for side in ("train", "val")
    ]
    known = [
        Metric("test/speakers", 6, 0, 0),
        Metric("test/speakers_trained_on", 0, 0, 0),
        Metric("seconds", 12, 0, 0),
    ]
    client.log_batch(run.info.run_id, metrics=[*curve, *known])
    counts = {"train": 120, "val": 1, "test": 60}
    with mlflow.start_run(run.info.run_id):
        for side, count in counts.items():
            tracking.log_data("demo", f"digest-{side}", side, {"clips": str(count)})
    client.set_terminated(run.info.run_id)


def made_up() -> Plan:
    arms = tuple(
        PlannedArm(name=n, label=label, about="", experiment=n, corpora=("ravdess", "savee"))
        for n, label in (("svm", "SVM"), ("lstm", "BiLSTM"), ("resnet_transfer", "+ ImageNet"))
    )
    cells = [
        PlannedCell(
            arm=arm.name, protocol="speaker_folds", fold=fold, seed=seed, signature=f"{arm.name}-{fold}-{seed}"
        )
        for arm in arms
        for fold in (0, 1, 2)
        for seed in (0, 1)
    ]
    cells = [c.model_copy(update={"reason": MISSING}) if c.arm == "resnet_transfer" else c for c in cells]
    return Plan(name="made_up", about="DEMO", demo=True, protocols=("speaker_folds",), arms=arms, cells=tuple(cells))
