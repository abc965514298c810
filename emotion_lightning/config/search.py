"""The values of one setting that `make tune` tries: a range of numbers, or a list of choices.

search:
  fit.stages.main.lr: {low: 1e-4, high: 1e-2, log: true}
  model.width: {low: 8, high: 64, step: 8}      # whole numbers, since both ends are
  model.pool: [mean, mean_std]
"""

import json
import math
from typing import Annotated, Any

from pydantic import Field, PlainValidator, model_validator

from emotion_lightning.config.settings import Settings

LARGEST = 1e15  # below it, whole numbers and their differences are exact


def _number(value: Any) -> Any:
    if value is not None and (type(value) not in (int, float) or not -LARGEST <= value <= LARGEST):
        raise ValueError("it should be a number")
    return value


# checked by a function, since pydantic's union of int and float reports a fault in two lines
Number = Annotated[int | float, PlainValidator(_number)]


class SearchRange(Settings):
    """Numbers from `low` to `high`, both included, or `choices`. Whole numbers if both ends are."""

    low: Number | None = None
    high: Number | None = None
    log: bool = Field(False, description="draw evenly from the logarithms")
    step: Number | None = Field(None, description="distance of neighbouring values; 1 for whole numbers if not given")
    choices: list[Any] = Field(default_factory=list, description="the form [a, b, c] in a file")

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        """Reads `[a, b, c]` as choices."""
        if isinstance(value, list):
            if len({json.dumps(choice) for choice in value}) < max(2, len(value)):
                raise ValueError("it should be a list of at least two different values")
            return {"choices": value}
        if not isinstance(value, dict | SearchRange):
            raise ValueError("it should be {low: …, high: …} or a list of choices")
        return value

    @model_validator(mode="after")
    def _check(self) -> "SearchRange":
        if self.choices:
            return self
        if self.low is None or self.high is None:
            raise ValueError("low and high are needed, or a list of choices")
        if not self.low < self.high:
            raise ValueError(f"low is {self.low:g} and high is {self.high:g}; low should be less than high")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low:g}; with log it should be more than 0")
        if self.step is not None:
            self._check_step(self.step, self.high - self.low)
        return self

    def _check_step(self, step: Number, width: Number) -> None:
        if self.log:
            raise ValueError("log and step cannot be used together; leave one out")
        if self.is_whole and not isinstance(step, int):
            raise ValueError(f"step is {step:g}; it should be a whole number, as low and high are")
        if not 1e-9 * width < step <= width or not math.isclose(width / step, round(width / step), abs_tol=1e-6):
            raise ValueError(f"step is {step:g}; high - low, {width:g}, should be a multiple of it")

    @property
    def is_whole(self) -> bool:
        """Whether it holds whole numbers only."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def examples(self) -> list[Any]:
        """Returns values whose validity shows that of all: both ends, or every choice."""
        return self.choices or [self.low, self.high]

    def __str__(self) -> str:
        if self.choices:
            return ", ".join(json.dumps(choice) for choice in self.choices)
        return f"{self.low:g} … {self.high:g}{', log' * self.log}" + (f", step {self.step:g}" if self.step else "")
