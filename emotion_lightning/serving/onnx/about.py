"""What the folder of an export says of itself, as plain data: export.json, which a program without torch can read."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from emotion_lightning.config.schema import Audio
from emotion_lightning.config.settings import Settings
from emotion_lightning.serving.about import About, read_facts

Input = Literal["waves", "features"]
FILE, PACKAGE = "export.json", "package"
CLIP_SECONDS = 3.0  # of the clip that is timed


class Speed(Settings):
    """Milliseconds for one clip of 3 s on one thread, from the waveform to the probabilities."""

    p50_ms: float
    p95_ms: float

    @property
    def real_time_factor(self) -> float:
        """Returns the seconds of computing for a second of sound."""
        return self.p50_ms / 1000 / CLIP_SECONDS


class Parity(Settings):
    """The largest difference of a probability between ONNX Runtime and torch."""

    largest_difference: float
    clips: int
    of: str = Field(description="where the clips come from")


class Scores(Settings):
    """Scores on the clips of the run's test split."""

    uar: float
    accuracy: float


class Int8(Settings):
    """The second file, whose weights have 8 bits."""

    file: str
    megabytes: float
    method: str
    largest_difference: float = Field(
        description="of a probability, from torch; the bound on the clips of the parity check"
    )
    changed: float = Field(description="share of these clips whose emotion changes")
    speed: Speed
    scores: Scores | None = None
    scores_before: Scores | None = Field(None, description="of the file in 32 bits, on the same clips")


class Export(Settings):
    """The facts that predictions with the file need, and what was measured at export."""

    format: int = 1
    model: About
    audio: Audio = Field(description="how a recording is prepared before it becomes an input")
    input: Input = Field(description="of the graph: waveforms, or the features that package/ computes with torch")
    front_end: str
    file: str
    megabytes: float
    opset: int
    parity: Parity
    speed: Speed
    int8: Int8 | None = None


def read(folder: Path) -> Export:
    """Reads export.json. Raises: UserError for a folder without one, or with one of a later version."""
    return read_facts(Export, folder / FILE, "an export")
