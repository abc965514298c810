"""Loads an experiment from its file, the chain of its bases and overrides, and reports each fault in one line."""

import json
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from emotion_lightning.config import parts
from emotion_lightning.config.merge import Sources, merge, parse_override
from emotion_lightning.config.paths import is_file
from emotion_lightning.config.schema import Experiment, flatten
from emotion_lightning.config.yaml_file import read, shown
from emotion_lightning.errors import UserError, nearest, printable, shortened

SHIPPED = Path(__file__).parents[1] / "experiments"  # in a clone a link to the folder in the root; in a wheel a copy
Checked = typing.TypeVar("Checked", bound=BaseModel)


def folders() -> list[Path]:
    """Returns the folders that are searched for experiments: those of the user's parts, ./experiments, those shipped."""
    searched = [*(folder / "experiments" for folder in parts.folders()), Path("experiments"), SHIPPED]
    return list(dict.fromkeys(folder.resolve() for folder in searched))


def names() -> list[str]:
    """Returns the names of all experiments."""
    return sorted({file.stem for folder in folders() for file in folder.glob("*.yaml")})


def load(name: str, overrides: Iterable[str] = (), origin: str = "SET") -> Experiment:
    """Loads the experiment of that name (or path of a YAML file) with `key.path=value` overrides and all defaults.

    `origin` names the source of the overrides in messages.

    Raises: UserError with one line for each fault: its file, its path, and the nearest valid name.
    """
    tree: dict[str, Any] = {}
    file = find(name)
    sources: Sources = {(): shown(file)}
    for source, layer in reversed(list(_chain(file))):
        tree = merge(tree, layer, source, sources)
    for override in overrides:
        tree = merge(tree, parse_override(override, origin), origin, sources)
    if "name" in tree:
        raise UserError(f"{sources[('name',)]}: name: an experiment is named by its file")
    return check({**tree, "name": Path(name).stem}, sources)


def check(tree: dict[str, Any], sources: Sources | None = None) -> Experiment:
    """Checks a plain tree of settings and returns the Experiment.

    Raises: UserError with one line for each fault.
    """
    sources = sources or {}
    written = _validate(Experiment, tree, (), sources)
    tree = written.model_dump(mode="json")
    for path, kind, name, args in _uses(tree):
        try:
            model = parts.arguments(kind, name)
        except UserError as error:
            raise UserError(f"{_where(path, sources)}: {printable(str(error))}") from None
        checked = _validate(model, args, path, sources).model_dump(mode="json")
        args.clear()  # keep the order in which the part declares them, whatever the order in the file
        args.update(checked)
    checked_experiment: Experiment = _validate(Experiment, tree, (), sources)
    return checked_experiment.model_copy(update={"search": written.search})


def _uses(tree: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str, str, dict[str, Any]]]:
    """Yields each part that the tree uses: (path of its mapping, kind, name, arguments); changing these changes the tree.

    A feature's setting `of` holds features that it is made of.
    """
    for kind in ("corpora", "augment"):
        for name, args in tree[kind].items():
            yield (kind, name), kind, name, args
    for field, kind in (("protocol", "protocols"), ("features", "features"), ("model", "models")):
        name = tree[field].pop("name")
        yield (field,), kind, name, tree[field]
        tree[field] = {"name": name, **tree[field]}
    for name, args in tree["features"].get("of", {}).items():
        yield ("features", "of", name), "features", name, args


def _validate(model: type[BaseModel], tree: dict[str, Any], prefix: tuple[str, ...], sources: Sources) -> Any:
    try:
        # through JSON, since strict types then accept a list for a tuple
        return model.model_validate_json(json.dumps(tree))
    except ValidationError as error:
        raise UserError("\n".join(format_error(e, model, prefix, sources) for e in error.errors())) from None
    except TypeError as error:
        raise UserError(f"{_source(prefix, sources)}: {error}") from None


def format_error(error: Any, model: type[BaseModel], prefix: tuple[str, ...], sources: Sources) -> str:
    """Formats one of pydantic's errors as a line: source, path, what is wrong."""
    path = (*prefix, *(str(key) for key in error["loc"]))
    where = _where(path, sources)
    if error["type"] == "extra_forbidden":
        return f"{where}: no such setting{nearest(path[-1], _keys(model, error['loc'][:-1]))}"
    if error["type"] == "missing":
        return f"{where}: missing"
    problem = shortened(printable(error["msg"].removeprefix("Value error, ").replace("Input", "it", 1)), 500)
    return f"{where}: {problem}, not {shortened(json.dumps(error['input']))}"


def _where(path: tuple[str, ...], sources: Sources) -> str:
    return shortened(printable(f"{_source(path, sources)}: {'.'.join(path)}"), 500)


def _keys(model: Any, path: tuple[Any, ...]) -> list[str]:
    """Returns the valid names at a path below a settings class; the keys of a mapping and the numbers of a list are skipped."""
    for key in path:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[key].annotation
        else:
            inner = typing.get_args(model)  # of a mapping (str, values), of a tuple (values, …)
            model = next((i for i in inner if isinstance(i, type) and issubclass(i, BaseModel)), inner[1])
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _source(path: tuple[str, ...], sources: Sources) -> str:
    """Returns the source of the setting, or of the innermost mapping around it that has one."""
    for end in range(len(path), -1, -1):
        if path[:end] in sources:
            return sources[path[:end]]
    return next(iter(sources.values()), "settings")


def find(name: str) -> Path:
    """Returns the YAML file of the experiment of that name, or of that path.

    Raises: UserError where there is none, with the nearest name.
    """
    if name.endswith((".yaml", ".yml")):
        if not is_file(Path(name)):
            raise UserError(f"there is no file '{shortened(printable(name))}'")
        return Path(name)
    for folder in folders():
        if is_file(file := folder / f"{name}.yaml"):
            return file
    raise UserError(f"no experiment named '{shortened(printable(name))}'{nearest(name, names())}")


def _chain(file: Path, seen: tuple[Path, ...] = ()) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields (shown path, settings) of the file and of its bases, nearest first."""
    path = shown(file)
    if file in seen:
        raise UserError(f"{path}: base: circular base")
    tree = read(file)
    base = tree.pop("base", None)
    yield path, tree
    if base is not None:
        neighbour = file.parent / f"{base}.yaml"
        try:
            base_file = neighbour if is_file(neighbour) else find(str(base))
        except UserError as error:
            raise UserError(f"{path}: base: {error}") from None
        yield from _chain(base_file, (*seen, file))


def validate(model: type[Checked], tree: dict[str, Any], file: Path) -> Checked:
    """Checks a mapping that was read from `file` and returns it as frozen settings of this type.

    Raises: UserError with one line for each fault.
    """
    checked: Checked = _validate(model, tree, (), {(): shown(file)})
    return checked


def difference(old: dict[str, str], new: Experiment) -> list[str]:
    """Returns `path: old → new` for each setting that differs from the params of another run."""
    current = new.flat()
    return [
        f"{k}: {old.get(k, '–')} → {current.get(k, '–')}"
        for k in sorted(old.keys() | current.keys())
        if old.get(k) != current.get(k)
    ]


__all__ = ["check", "difference", "flatten", "folders", "format_error", "load", "names", "read", "shown", "validate"]
