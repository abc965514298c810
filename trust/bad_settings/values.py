"""Wrong values, special forms of YAML, and how a value is put into a tree of settings."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

WRONG: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.5, 1e-300, 1e308, float("nan"), float("inf"),
    "", "x", "off", "1", "null", "a\nb", "\x1b[31m", "ünï 😀", "../..", "x" * 5_000, [], {}, [1], [None], {"a": 1},
    {"": ""}, {"name": 3}, [[[]]], [{"a": {}}], {"a": {"b": {"c": 1}}},
)  # fmt: skip
ANCHORS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
SPECIAL: tuple[bytes, ...] = tuple(
    text if isinstance(text, bytes) else text.encode()
    for text in (
        "", "\n", "-", "- 1", "word", "3", "2001-01-01", "[]", "null", "---\n---\n", "a: 1\n---\nb: 2\n", "%YAML 9.9\n---\n",
        "a: 1\na: 2\n", "fit:\n\tema: 1\n", "a: \0", b"\xff\xfe\x00", "base: demo\n".encode("utf-16"), b"about: \xe4\n",
        ANCHORS, f"base: demo\nabout: {{{ANCHORS.replace(chr(10), ', ')}}}", "a: &a {b: *a}",
        "base: demo\naugment: &a {mixup: *a}", "a: *nothing", "a: " + "[" * 2_000,
        "a: " + "{a: " * 300 + "1" + "}" * 300, "? [1, 2]\n: 3\n", "? {a: 1}\n: 3\n",
        "1: 2\n", "~: 2\n", "2001-01-01: 2\n", "true: 2\n", "a: !!binary aGk=\n", "a: !!binary ü\n", "a: !!set {a, b}\n",
        "!!set {a}\n", "a: !!omap [a: b]\n", "a: !!int x\n", "a: !!bool x\n", "a: !!float x\n", "a: !!timestamp x\n",
        "a: 2001-99-99\n", "<<: 3\n", "a: !!python/object/apply:os.system [echo]\n", "a: !unknown x\n",
        "base: demo\nseed: " + "9" * 5_000, '"a\\nb": 1\n', 'about: "\\ud800"\n', 'base: "\\e[31m\\n"\n', "base: [a]\n",
        "base: {a: b}\n", "base: " + "a" * 300, "base: ../../x\n", 'base: "a\\0"\n', "base: mine\n", "base: demo\nname: x\n",
        "base: demo\nsearch: {fit.ema: {low: 1, high: 1e308, step: 1e-308}}\n",
        "base: demo\nsearch: {fit.ema: {low: 1, high: 1" + "0" * 400 + "}}\n", "base: demo\nsearch: {x: [.nan, 1]}\n",
        "base: demo\ncorpora: [{a: b}, ~, 3]\n", "base: demo\ncorpora: {demo: [1]}\n", "base: demo\nmodel: {name: [a]}\n",
    )
)  # fmt: skip


def leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path of each value and of each mapping and list around it."""
    if path:
        yield path
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield from leaves(value, (*path, key))


def changed(tree: Any, path: Sequence[Any], value: Any) -> Any:
    """Returns a copy of the tree with another value at a path."""
    copied = copy.deepcopy(tree)
    inner = copied
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copied


def inline(value: Any) -> str:
    """Returns a value as YAML in one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()
