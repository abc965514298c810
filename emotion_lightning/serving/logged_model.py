"""Logs the package of a run's model to MLflow, with a signature, pinned requirements and our code, so that it loads anywhere."""

import warnings
from pathlib import Path

import mlflow
import numpy as np

import emotion_lightning
from emotion_lightning.audit.leakage import Audit
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.serving import package
from emotion_lightning.serving.about import About, Scale
from emotion_lightning.serving.card import write_card
from emotion_lightning.tracking import environment
from emotion_lightning.training.evaluation import RunResult
from emotion_lightning.training.fit import Fitted

SCRIPT = Path(__file__).with_name("model_script.py")


def log_model(data: EmotionData, audit: Audit, fitted: Fitted, result: RunResult, folder: Path) -> None:
    """Writes the package to `folder`, and logs it as the run's MLflow model.

    There is none with `data.normalise_speakers`, since a single recording cannot be normalised so. A user's own parts are not
    in it: they must be on the path where it is loaded.
    """
    if data.experiment.data.normalise_speakers:
        return
    feature = fitted.model.feature
    package.write(folder, fitted.kept, feature, about(data, result), write_card(data, audit, result, fitted.model))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # that there is no input example: it would load the model once more
        mlflow.pyfunc.log_model(
            name="model",
            python_model=str(SCRIPT),
            artifacts={"package": str(folder)},
            signature=_signature(data.classes),
            code_paths=[str(Path(emotion_lightning.__file__).parent)],
            pip_requirements=environment.model_requirements(feature.requirements),
            metadata={"classes": list(data.classes), "sample_rate_hz": data.experiment.audio.sample_rate},
        )


def about(data: EmotionData, result: RunResult) -> About:
    """Returns what the package says of the model of a run that was evaluated."""
    experiment, scale = data.experiment, result.calibration
    seconds = data.training_seconds()
    return About(
        title=f"{experiment.title_prefix}{experiment.name} · {experiment.protocol.name}",
        run=result.run_id,
        classes=data.classes,
        sample_rate=experiment.audio.sample_rate,
        calibration=Scale(temperature=scale.temperature, threshold=scale.threshold, coverage=scale.coverage),
        min_confidence=experiment.answer.min_confidence,
        median_seconds=min(float(np.median(seconds)), data.feature.used[1]),
        longest_seconds=float(seconds.max()),
        figures=result.figures,
    )


def _signature(classes: tuple[str, ...]) -> mlflow.models.ModelSignature:
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    texts = [ColSpec(DataType.string, name, required=False) for name in ("audio", "path")]
    samples = ColSpec(Array(DataType.double), "samples", required=False)
    rows = Schema([*texts, samples, ColSpec(DataType.long, "rate", required=False)])
    answers = Schema(
        [
            ColSpec(DataType.string, "emotion"),
            ColSpec(DataType.double, "confidence"),
            ColSpec(Array(DataType.string), "emotions"),
            *(ColSpec(DataType.double, name) for name in ("seconds", *classes)),
        ]
    )
    least = ParamSpec("min_confidence", DataType.double, -1.0)
    return mlflow.models.ModelSignature(rows, answers, ParamSchema([least]))
