"""What a model package says of its model, as plain data: package.json."""

from pathlib import Path
from typing import TypeVar

from pydantic import Field, ValidationError

from emotion_lightning.config.settings import Settings
from emotion_lightning.errors import UserError

Facts = TypeVar("Facts", bound=Settings)


def read_facts(kind: type[Facts], file: Path, what: str) -> Facts:
    """Reads a JSON file of facts; `what` is the thing that its folder should be.

    Raises: UserError where the file is missing, damaged, or of a later version.
    """
    try:
        return kind.model_validate_json(file.read_bytes())
    except OSError as error:
        raise UserError(f"MODEL: '{file.parent}' is not {what} (no {file.name} in it: {error.strerror})") from None
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise UserError(f"MODEL: {file} cannot be read ({where}: {error.errors()[0]['msg']})") from None


class Scale(Settings):
    """The calibration of training/calibration.py."""

    temperature: float = Field(1.0, gt=0)
    threshold: float = Field(0.0, ge=0, le=1)
    coverage: float = Field(0.9, gt=0, lt=1)


class About(Settings):
    """The facts that predictions need, and those by which a package is recognised."""

    format: int = 1
    title: str = Field(description="experiment and protocol, with the marks DEMO, LEAKY …")
    run: str = Field(pattern=r"^[\w-]*$", description="id of the MLflow run")
    classes: tuple[str, ...]
    sample_rate: int = Field(gt=0, description="Hz that the model works at; other rates are resampled")
    calibration: Scale = Scale()
    min_confidence: float = Field(0.0, ge=0, lt=1, description="answers below it are `uncertain`")
    median_seconds: float = Field(
        gt=0, description="of the training clips; the length of a window of a long recording"
    )
    longest_seconds: float = Field(gt=0, description="of the training clips; longer recordings are cut into windows")
    figures: dict[str, float] = Field(default_factory=dict, description="scores of the validation and test splits")
