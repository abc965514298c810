"""Types of numbers for the settings of parts, besides pydantic's PositiveInt and its kind.

A value outside the range is an error of one line, before anything is computed.
"""

from typing import Annotated

from pydantic import AfterValidator, Field


def _not_empty(values: tuple[object, ...]) -> tuple[object, ...]:
    if not values:
        raise ValueError("give at least one value")
    return values


NotEmpty = AfterValidator(_not_empty)  # pydantic's own min_length adds a second line to an error in one value
Share = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Pixels = Annotated[int, Field(ge=1, le=2048)]
Decibel = Annotated[float, Field(ge=-100, le=100)]
Speeds = Annotated[tuple[Annotated[float, Field(ge=0.5, le=2)], ...], NotEmpty]
