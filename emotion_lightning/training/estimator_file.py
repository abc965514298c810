"""Keeps a fitted EmotionEstimator as plain data in one file, `best.skops`, as a network's checkpoint does.

The file is the zip archive that skops writes of the scikit-learn estimator, with one member more, `model.json`: the
experiment's settings, the class names and the temperature. No class of this package is pickled, so a renamed module
leaves old runs readable. Reading runs only code of types that skops trusts, of `emotion_lightning.models`, and of the
types that the model's own file lists::

    TRUSTED = ["xgboost.sklearn.XGBClassifier"]
"""

import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from emotion_lightning.config import parts
from emotion_lightning.config.schema import Experiment
from emotion_lightning.errors import UserError
from emotion_lightning.training.estimator import EmotionEstimator

OWN = "emotion_lightning.models."


def save(model: EmotionEstimator, file: Path) -> None:
    """Writes the model to `file` and reads the file back once.

    Raises: UserError for an estimator that skops cannot save, such as one that holds a lambda.
    """
    import skops.io  # here and below, because it takes a second to import and networks do not need it

    about = {
        "experiment": model.experiment.model_dump(mode="json"),
        "classes": model.classes,
        "temperature": model.temperature,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        skops.io.dump(model.estimator, file)
        with ZipFile(file, "a") as archive:
            archive.writestr("model.json", json.dumps(about, indent=1))
        load(file)
    except (UserError, OSError):
        raise
    except Exception as fault:  # whatever the estimator's own code raises
        raise UserError(
            f"models/{model.experiment.model.name}.py: skops cannot save its estimator: {fault}"
        ) from fault


def load(file: Path) -> EmotionEstimator:
    """Rebuilds the model that `save` wrote.

    Raises: UserError for a type that is not trusted, and for the pickle `best.joblib` of earlier versions.
    """
    if file.suffix == ".joblib":
        raise UserError(
            f"{file.name} is a pickle of an earlier version, which is not read any more. To train the run again, "
            "download its artifact settings.yaml, delete the line 'name: …' and type: make train EXP=settings.yaml"
        )
    import skops.io

    with ZipFile(file) as archive:
        about = json.loads(archive.read("model.json"))
    experiment = Experiment.model_validate(about["experiment"], strict=False)
    feature = parts.entry("features", experiment.features.name)(
        experiment.audio.sample_rate, **experiment.features.args
    )
    estimator = skops.io.load(file, trusted=_trusted(file, experiment.model.name))
    model = EmotionEstimator(experiment, feature, estimator, about["classes"])
    model.temperature = about["temperature"]
    return model


def _trusted(file: Path, model: str) -> list[str]:
    """Lists the types in `file` that skops does not trust by default, if all of them are allowed."""
    import skops.io

    allowed: list[str] = parts.fact("models", model, "TRUSTED", [])
    untrusted: list[Any] = skops.io.get_untrusted_types(file=file)
    if refused := [name for name in untrusted if not name.startswith(OWN) and name not in allowed]:
        raise UserError(
            f"{file.name} holds types that are not trusted: {', '.join(refused)}. If they are yours, list them in "
            f"models/{model}.py: TRUSTED = {refused}"
        )
    return untrusted
