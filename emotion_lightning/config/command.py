"""Writes the `make train` command that gives the same run again."""

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any

import yaml

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.config.merge import LISTS
from emotion_lightning.config.schema import MACHINE_DATA, MACHINE_FIT, Experiment, flatten
from emotion_lightning.errors import UserError

KEPT_SETTINGS = "settings.yaml"
"""The file among a run's artifacts that has all of its settings."""
MACHINE = {*(f"data.{name}" for name in MACHINE_DATA - {"dir"}), *(f"fit.{name}" for name in MACHINE_FIT)}


def train_command(experiment: Experiment) -> str:
    """Returns `make train EXP=… SET=…` with each setting that differs from the experiment's file.

    Where no experiment has this name, or where overrides cannot express a difference, EXP is the file that the run keeps.
    """
    own = f" PARTS={shlex.quote(str(folders[0]))}" if (folders := parts.folders()) else ""
    try:
        overrides = _overrides(experiment)
        again = settings.load(experiment.name, overrides)
    except UserError:
        again = None
    if again is None or again.signature() != experiment.signature() or not all(map(_survives_make, overrides)):
        return f"make train EXP={KEPT_SETTINGS}{own}"
    return f"make train EXP={experiment.name}{make_options(overrides, with_folders=True)}{own}"


def _survives_make(override: str) -> bool:
    """Returns whether the override reaches Python as it is: make divides SET at blanks, and a shell may have read it before."""
    return override.startswith("data.dir=") or bool(re.fullmatch(r"[\w.=:,/+\[\]-]+", override))


def _overrides(experiment: Experiment) -> list[str]:
    """Returns the overrides that turn the experiment's file into these settings: first the parts, then their arguments."""
    chosen = _other_parts(settings.load(experiment.name), experiment)
    base, wanted = (flatten(e.model_dump(mode="json")) for e in (settings.load(experiment.name, chosen), experiment))
    changed = {path: value for path, value in wanted.items() if base.get(path) != value and path not in MACHINE}
    return [*chosen, *(f"{path}={_short(value)}" for path, value in changed.items() if path not in ("name", "about"))]


def _other_parts(base: Experiment, wanted: Experiment) -> list[str]:
    """Returns overrides for another protocol, feature or model, other corpora, and what is switched on or off."""
    overrides = [
        f"{field}={getattr(wanted, field).name}"
        for field in ("protocol", "features", "model")
        if getattr(base, field).name != getattr(wanted, field).name
    ]
    if list(base.corpora) != list(wanted.corpora):
        overrides.append(f"corpora={_short(list(wanted.corpora))}")
    trees = base.model_dump(mode="json"), wanted.model_dump(mode="json")
    for path in [p for p in LISTS if p != ("corpora",)] + [("emotions",)]:
        old, new = trees
        for key in path:
            old, new = old[key], new[key]
        switched = [(key, "off") for key in old if key not in new]
        if path == ("augment",):
            switched += [(key, "on") for key in new if key not in old]
        overrides += [f"{'.'.join(path)}.{key}={value}" for key, value in switched]
    return overrides


def _short(value: Any) -> str:
    """Returns a value as YAML without blanks and, where YAML can do without them, without quotation marks."""
    if isinstance(value, list) and all(isinstance(item, str) and item.isidentifier() for item in value):
        return f"[{','.join(value)}]"
    if isinstance(value, str) and yaml.safe_load(value or "''") == value and value.strip() == value:
        return value
    return json.dumps(value, separators=(",", ":"))


def make_options(overrides: Sequence[str], with_folders: bool = False) -> str:
    """Returns the overrides as variables of make, with a blank before each; DATA and CACHE only if asked for."""
    variables: dict[str, list[str]] = {"PROTOCOL": [], "CORPORA": [], "SET": [], "DATA": [], "CACHE": []}
    for override in overrides:
        path, _, value = override.partition("=")
        if path in ("data.dir", "data.cache"):
            variables["DATA" if path == "data.dir" else "CACHE"] = [str(yaml.safe_load(value))]
        elif path == "protocol":
            variables["PROTOCOL"] = [value]
        elif path == "corpora" and value.startswith("["):
            variables["CORPORA"] = yaml.safe_load(value)
        else:
            variables["SET"].append(override)
    if not with_folders:
        variables["DATA"] = variables["CACHE"] = []
    return "".join(f" {name}={shlex.quote(' '.join(words))}" for name, words in variables.items() if words)
