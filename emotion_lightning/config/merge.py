"""Merges the settings of files and of overrides, and checks that each change has an effect.

A later value wins, mapping by mapping. A changed `name` replaces its whole mapping, and what `search` says of it, since another
part has other arguments. The source of every value (a file or an override) is kept for messages.
"""

import typing
from typing import Any

import yaml

from emotion_lightning.config.yaml_file import DEEPEST, parse
from emotion_lightning.errors import UserError, nearest, printable, shortened

Sources = dict[tuple[str, ...], str]  # path of a setting → where its value was written
STAGES = ("fit", "stages")
LISTS: dict[tuple[str, ...], list[str]] = {("corpora",): [], ("augment",): [], STAGES: ["main"]}
"""The mappings whose entries can be switched on and off, with the names of their defaults."""


def parse_override(text: str, origin: str = "SET") -> dict[str, Any]:
    """Returns `key.path=value` as nested mappings; the value is YAML. `origin` names the source of the override in messages.

    Raises: UserError for a text of another form.
    """
    path, equals, value = text.partition("=")
    shown = f"{origin}: '{shortened(printable(text))}'"
    if not equals or not path:
        raise UserError(f"{shown}: an override is key.path=value, for example fit.stages.main.epochs=5")
    if not path.isprintable() or path.count(".") > DEEPEST:
        raise UserError(f"{shown}: there is no such setting")
    try:
        tree = parse(value)
    except yaml.YAMLError:
        raise UserError(f"{shown}: the value is not YAML") from None
    for key in reversed(path.split(".")):
        tree = {key: tree}
    return tree


def merge(
    base: dict[str, Any], changes: dict[str, Any], source: str, sources: Sources, path: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Merges `changes` into a copy of `base`. A part may be written as its bare name: `protocol: speaker_folds`."""
    merged = dict(base)
    for key, value in changes.items():
        key_path, old = (*path, str(key)), merged.get(key)
        if path in LISTS:
            _check_entry(str(key), value, path, list(base) or LISTS[path], source)
            if path != STAGES and value is True and isinstance(old, dict):
                continue  # `on` keeps the settings of what is on already
        if isinstance(value, str) and key_path in (("protocol",), ("features",), ("model",)):
            value = {"name": value}
        sources[key_path] = source
        if key_path == ("corpora",) and isinstance(value, str | list):
            merged[key] = _these_only([value] if isinstance(value, str) else value, old)
        elif isinstance(value, dict):
            keep = isinstance(old, dict) and ("name" not in value or value["name"] == old.get("name"))
            if old and not keep:
                _drop_ranges(merged, str(key), changes)
            merged[str(key)] = merge(
                typing.cast(dict[str, Any], old) if keep else {}, value, source, sources, key_path
            )
        else:
            merged[str(key)] = value
    return merged


def _drop_ranges(merged: dict[str, Any], part: str, changes: dict[str, Any]) -> None:
    """Drops what `search` of the base says of a part that another one replaces; what the changes say stays."""
    if isinstance(ranges := merged.get("search"), dict):
        own = changes.get("search") or {}
        merged["search"] = {k: v for k, v in ranges.items() if k in own or not k.startswith(f"{part}.")}


def _these_only(names: list[Any], old: Any) -> dict[str, Any]:
    """Returns the corpora of a list, such as `corpora: [emodb, savee]`; those that are on already keep their settings."""
    known = old if isinstance(old, dict) else {}
    return {str(name): known.get(str(name), {}) for name in names}


def _check_entry(key: str, value: Any, path: tuple[str, ...], known: list[str], source: str) -> None:
    """Raises UserError for a change that would have no effect, or would add a second stage for a misspelt one."""
    if key in known:
        return
    where, similar = shortened(printable(f"{source}: {'.'.join((*path, key))}"), 500), nearest(key, known)
    if value is False:
        raise UserError(f"{where}: there is nothing to switch off{similar}")
    if path == STAGES and isinstance(value, dict):
        if similar.startswith("; did you mean"):
            raise UserError(f"{where}: there is no such stage{similar}")
        if not value.keys() & {"epochs", "frozen_epochs"}:
            raise UserError(f"{where}: a new stage needs epochs or frozen_epochs{similar}")
