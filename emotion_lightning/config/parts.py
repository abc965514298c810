"""Finds a corpus, protocol, feature, augmentation or model by the name of its file, and checks its arguments.

A part is one Python file: `corpora/ravdess.py` is the corpus `ravdess`. The framework passes the parameters before the
`*` of its entry function, and the experiment's YAML passes the keyword-only ones after it::

    def build(shape, classes, *, backbone: str = "resnet34", weights: str = "imagenet") -> nn.Module: ...

so the signature is the list of settings, with types and defaults. Nothing needs to be registered. A folder outside the
package with the same subfolders (`PARTS=my_parts`) is searched as well.
"""

import ast
import importlib
import importlib.util
import inspect
import os
import pkgutil
import traceback
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, create_model

from emotion_lightning.errors import UserError, nearest, shortened

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
    """Returns the user's folders of parts, in the order of the environment variable (separated as in PATH)."""
    return [Path(entry) for entry in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if entry]


def yaml_files(folder: str) -> dict[str, Path]:
    """Returns the YAML files of a folder ("weights") by name, those of the package and of the user's parts.

    Raises: UserError for a name that two files have.
    """
    found: dict[str, Path] = {}
    for root in (Path(__file__).parents[1], *folders()):
        for file in sorted((root / folder).glob("*.yaml")):
            if file.stem in found:
                raise UserError(f"{file}: there is a file of that name in {folder}/ already; rename yours")
            found[file.stem] = file
    return found


def names(kind: str) -> list[str]:
    """Returns the names of all parts of a kind (`"models"`), the package's and the user's."""
    return sorted(m.name for m in pkgutil.iter_modules(_package(kind).__path__) if not m.name.startswith("_"))


def load(kind: str, name: str) -> ModuleType:
    """Imports the module of a part.

    Raises: UserError for an unknown name, with the nearest valid one, and for a user's file that cannot be imported.
    """
    if name not in (valid := names(kind)):
        raise UserError(f"no {ONE[kind]} named '{shortened(name)}'{nearest(name, valid)}")
    try:
        return importlib.import_module(f"emotion_lightning.{kind}.{name}")
    except UserError:
        raise
    except Exception as error:
        raise UserError(fault(kind, name, error)) from error


def fault(kind: str, name: str, error: Exception) -> str:
    """Describes in one line an error in a part's file, with the line in that file."""
    spec = importlib.util.find_spec(f"emotion_lightning.{kind}.{name}")
    file = spec.origin if spec and spec.origin else f"{kind}/{name}.py"
    if isinstance(error, SyntaxError):
        return f"{error.filename or file}, line {error.lineno}: {error.msg}"
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    reason = " ".join(str(error).partition("\nException raised from")[0].split())  # without the stack of torch's C++
    return f"{file}{f', line {lines[-1]}' if lines else ''}: {type(error).__name__}: {reason}"


def entry(kind: str, name: str) -> Any:
    """Returns the function that makes the part: `read`, `split` or `build`.

    Raises: UserError for an unknown name, or a file without that function.
    """
    module = load(kind, name)
    if not callable(function := getattr(module, ENTRY[kind], None)):
        raise UserError(f"{module.__file__}: a {ONE[kind]} needs a function `{ENTRY[kind]}` (see docs/adding.md)")
    return function


def sources(kind: str, name: str) -> list[Path]:
    """Returns the files that a part is made of: its own, and those of its kind that it imports, also through others."""
    found: dict[str, Path] = {}
    waiting = [load(kind, name)]
    while waiting:
        module = waiting.pop()
        if module.__name__ not in found and module.__file__:
            found[module.__name__] = Path(module.__file__)
            waiting += _imported(found[module.__name__], f"emotion_lightning.{kind}")
    return [found[name] for name in sorted(found)]


def _imported(file: Path, package: str) -> list[ModuleType]:
    """Returns the modules of a package that a file imports."""
    nodes = [
        n for n in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(n, ast.Import | ast.ImportFrom)
    ]
    names: set[str] = set()
    for node in nodes:
        start = f"{node.module}." if isinstance(node, ast.ImportFrom) and node.module else ""
        names |= {start.rstrip("."), *(start + alias.name for alias in node.names)}
    modules = []
    for name in sorted(name for name in names if name == package or name.startswith(f"{package}.")):
        with suppress(ModuleNotFoundError):  # a function or a constant of a module, not a module
            modules.append(importlib.import_module(name))
    return modules


def fact(kind: str, name: str, constant: str, default: Any) -> Any:
    """Returns a constant of the part's module (`DISJOINT`), or the default."""
    return getattr(load(kind, name), constant, default)


def arguments(kind: str, name: str) -> type[BaseModel]:
    """Returns a pydantic model of the part's settings, made from its signature's keyword-only parameters."""
    parameters = inspect.signature(entry(kind, name)).parameters.values()
    fields: dict[str, Any] = {
        p.name: (p.annotation, ... if p.default is p.empty else p.default)
        for p in parameters
        if p.kind is p.KEYWORD_ONLY
    }
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return create_model(f"{kind}.{name}", __config__=config, **fields)


def _package(kind: str) -> ModuleType:
    """Returns the kind's package, with the user's folders added to its search path."""
    package = importlib.import_module(f"emotion_lightning.{kind}")
    own = Path(package.__path__[0])
    for root in folders():
        if not root.is_dir():
            raise UserError(f"the parts folder '{root}' does not exist")
        folder = str((root / kind).resolve())
        if Path(folder).is_dir() and folder not in package.__path__:
            for duplicate in {p.name for p in own.glob("[a-z]*.py")} & {
                p.name for p in Path(folder).glob("[a-z]*.py")
            }:
                raise UserError(
                    f"{folder}/{duplicate}: the package has a {ONE[kind]} of that name already; rename yours"
                )
            package.__path__.append(folder)
            importlib.invalidate_caches()
    return package
