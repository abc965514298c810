"""The MLflow model of a package (model_script.py loads it).

Input: rows that have all `audio` (the bytes of a sound file in base64), or all `path`, or all `samples` (numbers from -1 to 1)
with `rate` in Hz, one channel; at most 10 minutes. Output: one row for each, with the emotion, its probability, the set of
emotions, and all probabilities.
"""

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.pyfunc import PythonModel, PythonModelContext

from emotion_lightning.data.audio import RATES, BadClip, Waveform, decode, decode_bytes
from emotion_lightning.serving import package
from emotion_lightning.serving.recogniser import Recognition, decodable

LONGEST_SECONDS = 600
"""Of one row: a file of 1 MB can hold hours of silence, which would fill the memory."""
DEFAULT = -1.0  # of min_confidence: as the package says
LARGEST = 2.0  # above it, samples are not on a scale from -1 to 1
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
        least = (params or {}).get("min_confidence", DEFAULT)
        if least != DEFAULT and not 0 <= least < 1:
            raise MlflowException.invalid_parameter_value(
                f"min_confidence is {least:g}; it must be from 0 to below 1"
            )
        answers = self.recogniser.each(self._sound, enumerate(model_input.to_dict("records")))
        return pd.DataFrame([_row(number, answer, least) for number, answer in enumerate(answers)])

    def _sound(self, numbered: tuple[int, Mapping[str, Any]]) -> Waveform | BadClip:
        """Returns the waveform of a row as training has it, or its fault. Raises: MlflowException if it holds no sound."""
        number, row = numbered
        return self.recogniser.prepared(*_decoded(number, row))


def _decoded(number: int, row: Mapping[str, Any]) -> tuple[Waveform, int]:
    """Returns the waveform (samples,) or (samples, channels) of a row, and its rate in Hz."""
    try:
        if isinstance(row.get("audio"), str):
            return decode_bytes(_base64(row["audio"]), LONGEST_SECONDS)
        if isinstance(row.get("path"), str):
            return _decode_path(Path(row["path"]))
        if row.get("samples") is not None:
            return _array(row["samples"], _rate(row.get("rate")))
    except binascii.Error as error:
        raise _bad(number, f"audio is not base64 ({error})") from None
    except (BadClip, ValueError) as fault:
        raise _bad(number, str(fault)) from None
    raise _bad(number, "none of audio, path and samples is given")


def _base64(text: str) -> bytes:
    """Returns the bytes of a base64 text, which may have line breaks. Raises: binascii.Error if it is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return base64.b64decode("".join(text.split()), validate=True)


def _decode_path(path: Path) -> tuple[Waveform, int]:
    if os.environ.get(NO_PATHS):
        raise ValueError("this server opens no files; send the bytes of the file as `audio`, in base64")
    with decodable(path) as readable:
        return decode(readable)


def _array(samples: Any, rate: int) -> tuple[Waveform, int]:
    wave = np.asarray(samples, np.float32)
    if len(wave) > LONGEST_SECONDS * rate:
        raise ValueError(f"it lasts {len(wave) / rate:.0f} s; at most {LONGEST_SECONDS} s are possible here")
    if len(wave) and np.abs(wave).max() > LARGEST:
        raise ValueError(f"samples are numbers from -1 to 1, and one is {np.abs(wave).max():g}")
    return wave, rate


def _rate(rate: Any) -> int:
    if rate is None or pd.isna(rate):
        raise ValueError("rate is missing: the sample rate of `samples` in Hz")
    if not RATES[0] <= rate <= RATES[-1]:
        raise ValueError(f"a rate of {rate:g} Hz; {RATES[0]} to {RATES[-1]} are possible")
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
