"""The LSTM of `models/lstm.py` with all its states pooled over time, instead of the last ones of both directions.

A model of its own, so that the runs of the published network keep their settings.
"""

from typing import Literal

from pydantic import PositiveInt

from emotion_lightning.config.ranges import Dropout
from emotion_lightning.models.lstm import LSTM


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    hidden: PositiveInt = 64,
    layers: PositiveInt = 2,
    dropout: Dropout = 0.5,
    pool: Literal["mean", "statistics"] = "mean",
) -> LSTM:
    """`hidden` is the number of units of each direction and layer; `statistics` are mean and standard deviation."""
    return LSTM(shape[0] * shape[1], classes, hidden, layers, dropout, pool)
