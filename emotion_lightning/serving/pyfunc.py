"""The MLflow model of a package: a script that MLflow runs when it loads the model, so no class of ours is pickled.

Input: rows that have all `audio` (the bytes of a sound file in base64), or all `path`, or all `samples` (numbers from -1 to 1)
with `rate` in Hz. Output: one row for each, with the emotion, its probability, the set of emotions, and all probabilities.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from emotion_lightning.data.audio import BadClip, Waveform, decode, decode_bytes
from emotion_lightning.serving import package
from emotion_lightning.serving.recogniser import Recognition, decodable

NO_PATHS = "EMOTION_LIGHTNING_NO_PATHS"
"""Set by our server: a client must not make it open files."""


class PackagedModel(PythonModel):
    """Answers rows of sound with the package that is stored beside it."""

    def load_context(self, context: PythonModelContext) -> None:
        self.recogniser = package.read(Path(context.artifacts["package"]))

    def predict(
        self, context: PythonModelContext | None, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Raises: MlflowException for a row that cannot be used, which MLflow's server answers with status 400."""
        if not {"audio", "path", "samples"} & set(model_input.columns):
            raise MlflowException.invalid_parameter_value("no column audio, path or samples")
        waves = [self._sound(number, row) for number, row in enumerate(model_input.to_dict("records"))]
        answers = self.recogniser.recognise(waves)
        least = (params or {}).get("min_confidence", -1.0)  # below 0: as the package says
        return pd.DataFrame([_row(number, answer, least) for number, answer in enumerate(answers)])

    def _sound(self, number: int, row: Mapping[str, Any]) -> tuple[Waveform, int]:
        """Returns the waveform (samples,) or (samples, channels) of a row, and its rate in Hz."""
        try:
            if isinstance(row.get("audio"), str):
                return decode_bytes(base64.b64decode(row["audio"], validate=True))
            if isinstance(row.get("path"), str):
                return _decode_path(Path(row["path"]))
            if row.get("samples") is not None:
                return _array(row["samples"]), _rate(row.get("rate"), self.recogniser.rate)
        except binascii.Error as error:
            raise _bad(number, f"audio is not base64 ({error})") from None
        except (BadClip, ValueError) as fault:
            raise _bad(number, str(fault)) from None
        raise _bad(number, "none of audio, path and samples is given")


def _decode_path(path: Path) -> tuple[Waveform, int]:
    if os.environ.get(NO_PATHS):
        raise ValueError("this server opens no files; send the bytes of the file as `audio`, in base64")
    with decodable(path) as readable:
        return decode(readable)


def _array(samples: Any) -> Waveform:
    wave = np.asarray(samples, np.float32)
    if wave.ndim not in (1, 2):
        raise ValueError(f"samples have the shape {wave.shape}; (samples,) or (samples, channels) is needed")
    return wave


def _rate(rate: Any, default: int) -> int:
    if rate is None or pd.isna(rate):
        return default
    if not 1_000 <= rate <= 768_000:
        raise ValueError(f"a rate of {rate:g} Hz; 1000 to 768000 are possible")
    return int(rate)


def _row(number: int, answer: Recognition | BadClip, least: float) -> dict[str, Any]:
    if isinstance(answer, BadClip):
        raise _bad(number, str(answer))
    answer = replace(answer, min_confidence=least) if least >= 0 else answer
    return {
        "emotion": answer.emotion,
        "confidence": answer.confidence,
        "emotions": list(answer.emotions),
        "seconds": answer.seconds,
        **answer.probabilities,
    }


def _bad(number: int, reason: str) -> MlflowException:
    return MlflowException.invalid_parameter_value(f"row {number}: {reason}")


mlflow.models.set_model(PackagedModel())
