"""Settings that hypothesis draws: changed files, and overrides. It reduces what fails to its shortest form."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis
import yaml
from hypothesis import strategies as st

from emotion_lightning.config import loader
from trust.bad_settings.judge import fault_of
from trust.bad_settings.values import WRONG, changed, inline, leaves
from trust.rows import Row, Setting


def checked(
    label: str, times: int, setting: Setting, check: Callable[[Any], str], drawn: st.SearchStrategy[Any]
) -> Row:
    """Checks as many drawn values; a fault is the shortest one that hypothesis finds."""
    count = 0

    @hypothesis.seed(setting.seed)
    @hypothesis.settings(
        max_examples=times,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(hypothesis.HealthCheck),
        report_multiple_bugs=False,
    )
    @hypothesis.given(drawn)
    def run(value: Any) -> None:
        nonlocal count
        count += 1
        if fault := check(value):
            raise AssertionError(f"{str(value)[:300]!r}: {fault}")

    try:
        run()
    except AssertionError as error:
        return Row(label, count, (str(error).splitlines()[0],))
    return Row(label, count)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12), st.sampled_from(list(WRONG))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3)
    ),
    max_leaves=6,
)


def changed_files(label: str, read: Callable[[Path], None], folder: Path, setting: Setting) -> Row:
    """Shipped files with changed values, changed keys, and changed characters."""
    files = sorted(folder.glob("*.yaml"))
    texts = [file.read_text(encoding="utf-8") for file in files]
    trees = [yaml.safe_load(text) for text in texts]
    file = Path("mine.yaml")

    @st.composite
    def content(draw: st.DrawFn) -> bytes:
        number = draw(st.integers(0, len(trees) - 1))
        if draw(st.booleans()):
            tree = trees[number]
            for _ in range(draw(st.integers(1, 3))):
                path = draw(st.sampled_from(list(leaves(tree)) or [("a",)]))
                if isinstance(path[-1], str) and draw(st.integers(0, 4)) == 0:  # another key
                    tree = changed(tree, (*path[:-1], draw(st.text(max_size=10))), draw(VALUES))
                else:
                    tree = changed(tree, path, draw(VALUES))
            return yaml.safe_dump(tree, allow_unicode=True).encode(errors="surrogatepass")
        text = bytearray(texts[number].encode())
        for _ in range(draw(st.integers(1, 4))):
            at = draw(st.integers(0, len(text) - 1))
            text[at : at + draw(st.integers(0, 5))] = draw(
                st.binary(max_size=4) | st.sampled_from([b"\n", b": ", b"- ", b"&a ", b"*a"])
            )
        return bytes(text) or b"a"

    def check(drawn: bytes) -> str:
        file.write_bytes(drawn)
        return fault_of(lambda: read(file), "mine.yaml", "study mine")

    return checked(label, setting.times(1_500, 30), setting, check, content())


def overrides(setting: Setting) -> Row:
    """A path, right or drawn, and a value, drawn or as text."""
    paths = [".".join(map(str, path)) for path in leaves(loader.load("demo").model_dump(mode="json"))]
    keys = (
        st.sampled_from(paths)
        | st.text(max_size=20)
        | st.lists(st.sampled_from(["fit", "a", "", "stages"])).map(".".join)
    )
    values = VALUES.map(inline) | st.text(max_size=30)
    drawn = st.tuples(keys, values).map("=".join) | st.text(max_size=40)

    def check(override: str) -> str:
        return fault_of(lambda: loader.load("demo", [override]), "SET", "demo.yaml")

    return checked("fuzzed overrides", setting.times(3_000, 100), setting, check, drawn)
