"""Types of numbers for the settings of parts, besides pydantic's PositiveInt and its kind.

A value outside the range is an error of one line, before anything is computed.
"""

from typing import Annotated

from pydantic import Field

Share = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Pixels = Annotated[int, Field(ge=1, le=2048)]
