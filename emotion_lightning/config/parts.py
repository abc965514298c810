"""Finds a corpus, protocol, feature, augmentation or model by its file's name, and checks the arguments given to it.

A part is one Python file: `corpora/ravdess.py` is the corpus `ravdess`. Its entry function takes from the framework
what stands before the `*` and from the experiment's YAML what stands behind it::

    def build(shape, classes, *, backbone: str = "resnet34", weights: str = "imagenet") -> nn.Module: ...

so the signature is the list of settings, with types and defaults. Nothing registers itself. A folder outside the
package with the same subfolders (`PARTS=my_parts`) is searched as well.
"""

import importlib
import inspect
import os
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

from emotion_lightning.errors import UserError, nearest

ENTRY = {"corpora": "read", "protocols": "split", "features": "build", "augment": "build", "models": "build"}
ONE = {
    "corpora": "corpus",
    "protocols": "protocol",
    "features": "feature",
    "augment": "augmentation",
    "models": "model",
}
ENVIRONMENT = "EMOTION_LIGHTNING_PARTS"  # inherited by the processes that DDP and studies start


def folders() -> list[Path]:
    """The user's own part folders, in the order of the environment variable (separated as in PATH)."""
    return [Path(entry) for entry in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if entry]


def names(kind: str) -> list[str]:
    """All parts of a kind (`"models"`), the package's and the user's."""
    return sorted(m.name for m in pkgutil.iter_modules(_package(kind).__path__) if not m.name.startswith("_"))


def load(kind: str, name: str) -> ModuleType:
    """The module of a part; an unknown name is a UserError that offers the nearest one."""
    if name not in (valid := names(kind)):
        raise UserError(f"no {ONE[kind]} named '{name}'{nearest(name, valid)}")
    return importlib.import_module(f"emotion_lightning.{kind}.{name}")


def entry(kind: str, name: str) -> Any:
    """The function that makes the part: `read`, `split` or `build`."""
    module = load(kind, name)
    if not callable(function := getattr(module, ENTRY[kind], None)):
        raise UserError(f"{module.__file__}: a {ONE[kind]} needs a function `{ENTRY[kind]}` (see docs/adding.md)")
    return function


def fact(kind: str, name: str, constant: str, default: Any) -> Any:
    """A constant that the part's module states (`DISJOINT`), or the default."""
    return getattr(load(kind, name), constant, default)


def arguments(kind: str, name: str) -> type[BaseModel]:
    """A pydantic model of the part's settings, read off its signature's keyword-only parameters."""
    parameters = inspect.signature(entry(kind, name)).parameters.values()
    fields: dict[str, Any] = {
        p.name: (p.annotation, ... if p.default is p.empty else p.default)
        for p in parameters
        if p.kind is p.KEYWORD_ONLY
    }
    return create_model(f"{kind}.{name}", __config__=ConfigDict(extra="forbid", strict=True), **fields)


def _package(kind: str) -> ModuleType:
    """The kind's package, its search path widened by the user's folders."""
    package = importlib.import_module(f"emotion_lightning.{kind}")
    own = Path(package.__path__[0])
    for root in folders():
        if not root.is_dir():
            raise UserError(f"the parts folder '{root}' does not exist")
        folder = str((root / kind).resolve())
        if Path(folder).is_dir() and folder not in package.__path__:
            for twin in {p.name for p in own.glob("[a-z]*.py")} & {p.name for p in Path(folder).glob("[a-z]*.py")}:
                raise UserError(f"{folder}/{twin}: the package has a {ONE[kind]} of that name already; rename yours")
            package.__path__.append(folder)
            importlib.invalidate_caches()
    return package
