"""Reads YAML files of settings. A fault is one line that names the file and the line of the mistake."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from emotion_lightning.errors import UserError

OPENED = ("while parsing a flow", "while scanning a simple key", "while scanning a quoted scalar")
"""Contexts of PyYAML's errors whose own line is the mistake; the parser notices it later, up to the end of the file."""


class Loader(yaml.SafeLoader):
    """YAML that reads 1e-3 as a number, as YAML 1.2 does, and refuses duplicate keys."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = []
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key '{key}'", key_node.start_mark)
            seen.append(key)
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read(file: Path) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping.

    Raises: UserError with the file's name where it holds something else.
    """
    try:
        tree = yaml.load(file.read_text(encoding="utf-8"), Loader) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{shown(file)}{_fault(error)}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{shown(file)}: the file must be a mapping of settings, not {json.dumps(tree)}")
    return tree


def _fault(error: Exception) -> str:
    """Returns " line 3: not YAML: …"; the line is left out where the parser does not know it."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f": not YAML: {' '.join(str(error).split())}"
    context = error.context or ""
    mark = error.context_mark if error.context_mark and context.startswith(OPENED) else error.problem_mark
    return f" line {mark.line + 1}: not YAML: {error.problem}" + (f" {context}" if context else "")


def shown(file: Path) -> str:
    """Returns the path as messages show it: relative if it is below the working folder."""
    return str(file.relative_to(Path.cwd()) if file.is_absolute() and file.is_relative_to(Path.cwd()) else file)
