"""Reads YAML files of settings. A fault is one line that names the file and the line of the mistake."""

import json
import re
from pathlib import Path
from typing import Any

import yaml

from emotion_lightning.errors import UserError, printable

OPENED = ("while parsing a flow", "while scanning a simple key", "while scanning a quoted scalar")
"""Contexts of PyYAML's errors whose own line is the mistake; the parser notices it later, up to the end of the file."""

DEEPEST = 50  # levels
MOST_VALUES = 100_000


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


def _refuse(loader: Loader, node: yaml.Node) -> None:
    kind = node.tag.rpartition(":")[2]
    raise yaml.constructor.ConstructorError(None, None, f"a setting cannot be of the type {kind}", node.start_mark)


for unused in ("timestamp", "binary", "set", "omap", "pairs"):  # JSON, which checks all settings, does not know these
    Loader.add_constructor(f"tag:yaml.org,2002:{unused}", _refuse)
Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if not tag.endswith(":timestamp")]  # a date stays a text
    for first, resolvers in Loader.yaml_implicit_resolvers.items()
}


def parse(text: str) -> Any:
    """Returns the content of a YAML text: mappings, lists and scalars, each of a bounded size.

    Raises: yaml.YAMLError for a text that is not YAML, or that is nested without end.
    """
    try:
        tree = yaml.load(text, Loader)
        _require_bounded(tree)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None
    except UnicodeEncodeError:
        raise yaml.YAMLError("a text has half a character (a surrogate)") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:  # !!int x, !!bool x, a number of 5000 digits
        raise yaml.YAMLError(f"a value cannot be read ({error})") from None
    return tree


def _require_bounded(tree: Any) -> None:
    """Raises yaml.YAMLError where anchors make a text of a few lines endless, or so large that nothing can be done with it."""
    waiting, count = [(tree, 1)], 0
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if depth > DEEPEST or count > MOST_VALUES:
            limits = f"at most {MOST_VALUES} values and {DEEPEST} levels are possible"
            raise yaml.YAMLError(f"it is too large, or an anchor contains itself ({limits})")
        if isinstance(value, str) and not value.isascii():
            value.encode()
        if isinstance(value, dict | list):
            waiting += [
                (inner, depth + 1) for inner in ([*value, *value.values()] if isinstance(value, dict) else value)
            ]


def read(file: Path) -> dict[str, Any]:
    """Reads a YAML file that holds a mapping.

    Raises: UserError with the file's name where it holds something else.
    """
    try:
        tree = parse(file.read_text(encoding="utf-8-sig")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(printable(f"{shown(file)}{_fault(error)}")) from None
    if not isinstance(tree, dict):
        raise UserError(f"{shown(file)}: the file must be a mapping of settings, not {json.dumps(tree, default=str)}")
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
    is_below = file.is_absolute() and file.is_relative_to(Path.cwd())
    return printable(str(file.relative_to(Path.cwd()) if is_below else file))
