"""Loads an experiment from its file, the chain of its bases and overrides, and reports each fault in one line.

A later value wins, mapping by mapping. A changed `name` replaces its whole mapping, since another part has other
arguments. The source of every value (a file or an override) is kept for messages.
"""

import json
import re
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from emotion_lightning.config import parts
from emotion_lightning.config.schema import Experiment, flatten
from emotion_lightning.errors import UserError, nearest

SHIPPED = Path(__file__).parents[1] / "experiments"  # in a clone a link to the folder in the root; in a wheel a copy
Checked = typing.TypeVar("Checked", bound=BaseModel)
Sources = dict[tuple[str, ...], str]  # path of a setting → where its value was written
STAGES = ("fit", "stages")
LISTS: dict[tuple[str, ...], list[str]] = {("corpora",): [], ("augment",): [], STAGES: ["main"]}
"""The mappings whose entries can be switched on and off, with the names of their defaults."""


class _Loader(yaml.SafeLoader):
    """YAML that reads 1e-3 as a number, as YAML 1.2 does, and refuses duplicate keys."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key '{key}'", node.start_mark)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


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
    file = _find(name)
    sources: Sources = {(): shown(file)}
    for source, layer in reversed(list(_chain(file))):
        tree = _merge(tree, layer, source, sources)
    for override in overrides:
        tree = _merge(tree, _parse_override(override), origin, sources)
    if "name" in tree:
        raise UserError(f"{sources[('name',)]}: name: an experiment is named by its file")
    return check({**tree, "name": Path(name).stem}, sources)


def check(tree: dict[str, Any], sources: Sources | None = None) -> Experiment:
    """Checks a plain tree of settings and returns the Experiment.

    Raises: UserError with one line for each fault.
    """
    sources = sources or {}
    tree = _validate(Experiment, tree, (), sources).model_dump(mode="json")
    for path, kind, name, args in _uses(tree):
        try:
            model = parts.arguments(kind, name)
        except UserError as error:
            raise UserError(f"{_source(path, sources)}: {'.'.join(path)}: {error}") from None
        checked = _validate(model, args, path, sources).model_dump(mode="json")
        args.clear()  # keep the order in which the part declares them, whatever the order in the file
        args.update(checked)
    return _validate(Experiment, tree, (), sources)


def _uses(tree: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str, str, dict[str, Any]]]:
    """Yields each part that the tree uses: (path of its mapping, kind, name, arguments); changing these changes the tree."""
    for kind in ("corpora", "augment"):
        for name, args in tree[kind].items():
            yield (kind, name), kind, name, args
    for field, kind in (("protocol", "protocols"), ("features", "features"), ("model", "models")):
        name = tree[field].pop("name")
        yield (field,), kind, name, tree[field]
        tree[field] = {"name": name, **tree[field]}


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
    where = f"{_source(path, sources)}: {'.'.join(path)}"
    if error["type"] == "extra_forbidden":
        return f"{where}: no such setting{nearest(path[-1], _keys(model, error['loc'][:-1]))}"
    if error["type"] == "missing":
        return f"{where}: missing"
    return f"{where}: {error['msg'].removeprefix('Value error, ').replace('Input', 'it', 1)}, not {json.dumps(error['input'])}"


def _keys(model: Any, path: tuple[Any, ...]) -> list[str]:
    """Returns the valid names at a path below a settings class; the keys of a mapping are skipped."""
    for key in path:
        if isinstance(model, type) and issubclass(model, BaseModel):
            model = model.model_fields[key].annotation
        else:
            model = typing.get_args(model)[1]
    return list(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []


def _source(path: tuple[str, ...], sources: Sources) -> str:
    """Returns the source of the setting, or of the innermost mapping around it that has one."""
    for end in range(len(path), -1, -1):
        if path[:end] in sources:
            return sources[path[:end]]
    return next(iter(sources.values()), "settings")


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise UserError(f"there is no file '{name}'")
        return Path(name)
    for folder in folders():
        if (file := folder / f"{name}.yaml").is_file():
            return file
    raise UserError(f"no experiment named '{name}'{nearest(name, names())}")


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
            base_file = neighbour if neighbour.is_file() else _find(str(base))
        except UserError as error:
            raise UserError(f"{path}: base: {error}") from None
        yield from _chain(base_file, (*seen, file))


def read(file: Path) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping.

    Raises: UserError with the file's name where it holds something else.
    """
    try:
        tree = yaml.load(file.read_text(encoding="utf-8"), _Loader) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{shown(file)}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{shown(file)}: the file must be a mapping of settings, not {json.dumps(tree)}")
    return tree


def validate(model: type[Checked], tree: dict[str, Any], file: Path) -> Checked:
    """Checks a mapping that was read from `file` and returns it as frozen settings of this type.

    Raises: UserError with one line for each fault.
    """
    checked: Checked = _validate(model, tree, (), {(): shown(file)})
    return checked


def shown(file: Path) -> str:
    """Returns the path as messages show it: relative if it is below the working folder."""
    return str(file.relative_to(Path.cwd()) if file.is_absolute() and file.is_relative_to(Path.cwd()) else file)


def _parse_override(text: str) -> dict[str, Any]:
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise UserError(f"SET: '{text}': an override is key.path=value, for example fit.stages.main.epochs=5")
    try:
        tree = yaml.load(value, _Loader)
    except yaml.YAMLError:
        raise UserError(f"SET: '{text}': the value is not YAML") from None
    for key in reversed(path.split(".")):
        tree = {key: tree}
    return tree


def _merge(
    base: dict[str, Any], changes: dict[str, Any], source: str, sources: Sources, path: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Merges `changes` into a copy of `base`. A part may be written as its bare name: `protocol: speaker_folds`."""
    merged = dict(base)
    for key, value in changes.items():
        key_path, old = (*path, str(key)), merged.get(key)
        if path in LISTS:
            _check_entry(str(key), value, path, list(base) or LISTS[path], source)
            if (
                path != STAGES and value is True and isinstance(old, dict)
            ):  # `on` keeps the settings of what is on already
                continue
        if isinstance(value, str) and key_path in (("protocol",), ("features",), ("model",)):
            value = {"name": value}
        if key_path == ("corpora",) and isinstance(value, str | list):  # these and no others
            sources[key_path], known = source, old if isinstance(old, dict) else {}
            merged[key] = {
                str(name): known.get(str(name), {}) for name in ([value] if isinstance(value, str) else value)
            }
            continue
        sources[key_path] = source
        if isinstance(value, dict):
            keep = isinstance(old, dict) and ("name" not in value or value["name"] == old.get("name"))
            merged[str(key)] = _merge(
                typing.cast(dict[str, Any], old) if keep else {}, value, source, sources, key_path
            )
        else:
            merged[str(key)] = value
    return merged


def _check_entry(key: str, value: Any, path: tuple[str, ...], known: list[str], source: str) -> None:
    """Raises UserError for a change that would have no effect, or would add a second stage for a misspelt one."""
    if key in known:
        return
    where, similar = f"{source}: {'.'.join((*path, key))}", nearest(key, known)
    if value is False:
        raise UserError(f"{where}: there is nothing to switch off{similar}")
    if path == STAGES and isinstance(value, dict):
        if similar.startswith("; did you mean"):
            raise UserError(f"{where}: there is no such stage{similar}")
        if not value.keys() & {"epochs", "frozen_epochs"}:
            raise UserError(f"{where}: a new stage needs epochs or frozen_epochs{similar}")


def difference(old: dict[str, str], new: Experiment) -> list[str]:
    """Returns `path: old → new` for each setting that differs from the params of another run."""
    current = new.flat()
    return [
        f"{k}: {old.get(k, '–')} → {current.get(k, '–')}"
        for k in sorted(old.keys() | current.keys())
        if old.get(k) != current.get(k)
    ]


__all__ = ["check", "difference", "flatten", "folders", "format_error", "load", "names", "read", "shown", "validate"]
