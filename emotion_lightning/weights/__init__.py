"""Pretrained weights: one YAML file for each set, `weights/NAME.yaml`, here or in a parts folder of your own.

A file says where its bytes come from: installed packages, the Hugging Face hub at one revision, or a URL. Whatever the source,
the SHA-256 decides whether they are used, and nothing in them is unpickled (formats.py).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.config.schema import Settings
from emotion_lightning.errors import UserError, nearest

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Source(Settings):
    """One place that the file can be had from: packages, the hub, or a web server."""

    packages: dict[str, str] = Field(
        default_factory=dict,
        description="installed packages, each with the path of a file in it; several files are the parts of one, in order",
    )
    hub: str = Field("", description="a repository of the Hugging Face hub, owner/name")
    revision: str = Field("", pattern="^([0-9a-f]{40})?$", description="its commit; never a branch, which can move")
    file: str = Field("", description="the file in the repository")
    url: str = Field("", pattern="^(https?://.*)?$")

    @model_validator(mode="after")
    def _one_kind(self) -> "Source":
        if sum(map(bool, (self.packages, self.hub, self.url))) != 1:
            raise ValueError("a source is one of packages, hub and url")
        if bool(self.hub) != bool(self.revision and self.file):
            raise ValueError("a source on the hub needs hub, revision and file")
        return self

    def __str__(self) -> str:
        if self.packages:
            return f"the package{'s' * (len(self.packages) > 1)} {' and '.join(self.packages)}"
        return f"the hub ({self.hub})" if self.hub else self.url


@dataclass(frozen=True)
class Origin:
    """The outside weights of a part, as runs and audits name them. `sha256` is "" where timm chose the file."""

    name: str
    sha256: str
    licence: str
    trained_on: str

    def __str__(self) -> str:
        return f"{self.name} sha256:{self.sha256}" if self.sha256 else self.name

    def sentence(self) -> str:
        """Returns one line for readers: licence and training data."""
        return f"weights {self.name} (licence: {self.licence}), trained on: {self.trained_on}"


class Weights(Settings):
    """What one YAML file says of one set of weights."""

    name: str
    title: str
    architecture: str = Field(description="the network that they belong to")
    licence: str
    citation: str
    trained_on: str = Field(description="the training data, and whether they may contain clips of the corpora here")
    size: int = Field(ge=1, description="bytes")
    sha256: Sha256
    format: Literal["torch", "safetensors", "ctranslate2"]
    sources: tuple[Source, ...] = Field(min_length=1, description="tried in this order")

    @property
    def origin(self) -> Origin:
        """Returns what runs and audits say of these weights."""
        return Origin(self.name, self.sha256, self.licence, self.trained_on)


def files() -> dict[str, Path]:
    """Returns the YAML files of all sets by name, those of the package and of the user's parts.

    Raises: UserError for a name that two files have.
    """
    return parts.yaml_files("weights")


def load(name: str) -> Weights:
    """Returns the description of the weights of that name.

    Raises: UserError for an unknown name, and for a file that is not valid.
    """
    if name not in (found := files()):
        raise UserError(f"there are no weights named '{name}'{nearest(name, found)}")
    return settings.validate(Weights, {"name": name, **settings.read(found[name])}, found[name])
