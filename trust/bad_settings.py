"""Fuzzed settings: YAML files, overrides, CSV tables, studies, claims, weights. Each is accepted, or refused in clear lines.

Hypothesis draws the texts and reduces a failing one to its shortest form. A refusal is a UserError whose first line names
the file or the setting; anything else that is raised is a fault. Settings that are accepted must also build, in a process
of its own with bounded memory. A few dozen go through the whole command, which must end with status 2 and leave no run.
"""

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import yaml
from hypothesis import strategies as st
from pydantic import BaseModel
from rich.console import Console

from benchmarks.timing import REPOSITORY
from emotion_lightning import weights
from emotion_lightning.config import loader, parts
from emotion_lightning.corpora import table
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import published_folds
from emotion_lightning.report import claims
from emotion_lightning.studies import study
from trust.rows import Row, Setting
from trust.workers import Lost, Worker

WRONG: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2**31,
        2**63,
        -(2**63),
        10**30,
        0.5,
        -0.5,
        1e-300,
        1e308,
        float("nan"),
        float("inf"),
    ),
    *("", "x", "off", "1", "null", "a\nb", "\x1b[31m", "ünï 😀", "../..", "x" * 5_000, [], {}, [1], [None], {"a": 1}),
    *({"": ""}, {"name": 3}, [[[]]], [{"a": {}}], {"a": {"b": {"c": 1}}}),
)
ANCHORS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
SPECIAL: tuple[bytes, ...] = tuple(
    text if isinstance(text, bytes) else text.encode()
    for text in (
        *(
            "",
            "\n",
            "-",
            "- 1",
            "word",
            "3",
            "2001-01-01",
            "[]",
            "null",
            "---\n---\n",
            "a: 1\n---\nb: 2\n",
            "%YAML 9.9\n---\n",
        ),
        *(
            "a: 1\na: 2\n",
            "fit:\n\tema: 1\n",
            "a: \0",
            b"\xff\xfe\x00",
            "base: demo\n".encode("utf-16"),
            b"about: \xe4\n",
        ),
        *(
            ANCHORS,
            f"base: demo\nabout: {{{ANCHORS.replace(chr(10), ', ')}}}",
            "a: &a {b: *a}",
            "base: demo\naugment: &a {mixup: *a}",
        ),
        *(
            "a: *nothing",
            "a: " + "[" * 2_000,
            "a: " + "{a: " * 300 + "1" + "}" * 300,
            "? [1, 2]\n: 3\n",
            "? {a: 1}\n: 3\n",
            "1: 2\n",
        ),
        *(
            "~: 2\n",
            "2001-01-01: 2\n",
            "true: 2\n",
            "a: !!binary aGk=\n",
            "a: !!binary ü\n",
            "a: !!set {a, b}\n",
            "!!set {a}\n",
        ),
        *(
            "a: !!omap [a: b]\n",
            "a: !!int x\n",
            "a: !!bool x\n",
            "a: !!float x\n",
            "a: !!timestamp x\n",
            "a: 2001-99-99\n",
            "<<: 3\n",
        ),
        *(
            "a: !!python/object/apply:os.system [echo]\n",
            "a: !unknown x\n",
            "base: demo\nseed: " + "9" * 5_000,
            '"a\\nb": 1\n',
        ),
        *(
            'about: "\\ud800"\n',
            'base: "\\e[31m\\n"\n',
            "base: [a]\n",
            "base: {a: b}\n",
            "base: " + "a" * 300,
            "base: ../../x\n",
        ),
        *(
            'base: "a\\0"\n',
            "base: mine\n",
            "base: demo\nname: x\n",
            "base: demo\nsearch: {fit.ema: {low: 1, high: 1e308, step: 1e-308}}\n",
        ),
        *(
            "base: demo\nsearch: {fit.ema: {low: 1, high: 1" + "0" * 400 + "}}\n",
            "base: demo\nsearch: {x: [.nan, 1]}\n",
        ),
        *(
            "base: demo\ncorpora: [{a: b}, ~, 3]\n",
            "base: demo\ncorpora: {demo: [1]}\n",
            "base: demo\nmodel: {name: [a]}\n",
        ),
    )
)


def rows(setting: Setting) -> Iterator[Row]:
    with _inside(setting.work):
        yield _specials()
        yield _every_path(setting)
        yield _fuzzed("fuzzed experiments", _experiment, loader.SHIPPED, setting)
        yield _overrides(setting)
        yield _tables(setting)
        yield _fuzzed("fuzzed studies", _study, loader.SHIPPED / "studies", setting)
        yield _fuzzed("fuzzed claims", _claim, loader.SHIPPED / "claims", setting)
        yield _fuzzed("fuzzed weights", _weights, Path(weights.__file__).parent, setting)
        yield _fuzzed("fuzzed published folds", _folds, Path(published_folds.__file__).parent / "folds", setting)
        yield _extremes(setting)
        yield _commands(setting)


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def fault_of(call: Callable[[], object], *named: str) -> str:
    """Returns what is wrong with how a call ends: well, or with a UserError whose first line has one of these names."""
    try:
        call()
    except UserError as refused:
        lines = str(refused).splitlines()
        if not lines or not all(line.isprintable() and len(line) < 2_000 for line in lines):
            return f"not a clear line: {str(refused)[:200]!r}"
        return (
            "" if any(name in lines[0] for name in named) else f"names neither file nor setting: {lines[0][:200]!r}"
        )
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:200]}"
    return ""


# ---------------------------------------------------------------- readers


def _experiment(file: Path) -> None:
    loader.load(str(file))


def _study(file: Path) -> None:
    study.cells(study.load(str(file)))


def _claim(file: Path) -> None:
    folder = Path("experiments/claims")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, folder / file.name)
    claims.load()


def _weights(file: Path) -> None:
    loader.validate(weights.Weights, {"name": "mine", **loader.read(file)}, file)


def _folds(file: Path) -> None:
    loader.validate(published_folds.Folds, loader.read(file), file)


def _specials() -> Row:
    """Every special text, as every kind of file."""
    faults, file = [], Path("mine.yaml")
    for read in (_experiment, _study, _claim, _weights, _folds):
        for content in SPECIAL:
            file.write_bytes(content)
            if fault := fault_of(lambda read=read: read(file), "mine.yaml", "study mine"):  # type: ignore[misc]
                faults.append(f"{read.__name__[1:]} {content[:60]!r}: {fault}")
    shutil.rmtree("experiments")
    return Row("YAML's special forms, in five kinds of files", 5 * len(SPECIAL), tuple(faults))


def _leaves(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yields the path of each value and of each mapping and list around it."""
    if path:
        yield path
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        yield from _leaves(value, (*path, key))


def _changed(tree: Any, path: Sequence[Any], value: Any) -> Any:
    changed = copy.deepcopy(tree)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def _inline(value: Any) -> str:
    """Returns a value as YAML in one line."""
    return yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n").strip()


def _every_path(setting: Setting) -> Row:
    """Each wrong value at each path of the schema and of the arguments of each part, in a file and as an override."""
    trees = [
        loader.load(name).model_dump(mode="json", exclude={"name"})
        for name in loader.names()[:: max(1, round(1 / setting.share))]
    ]
    places = {path: tree for tree in trees for path in _leaves(tree)}
    faults, times = [], 0
    for number, (path, tree) in enumerate(sorted(places.items(), key=str)):
        for value in WRONG[number % 4 :: 4] if setting.share < 1 else WRONG:
            times += 2
            text = yaml.safe_dump(_changed(tree, path, value), allow_unicode=True)
            Path("mine.yaml").write_text(text, encoding="utf-8")
            dotted = ".".join(map(str, path))
            override = f"{dotted}={_inline(value)}"
            for call, names in (
                (lambda: loader.load("mine.yaml"), ("mine.yaml",)),
                (lambda override=override: loader.load("demo", [override]), ("SET", "demo.yaml")),
            ):
                if fault := fault_of(call, *names):
                    faults.append(f"{dotted}={str(value)[:60]!r}: {fault}")
    return Row("a wrong value at every path", times, tuple(faults), f"{len(places)} paths, {len(WRONG)} values")


# ---------------------------------------------------------------- hypothesis


def _given(
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


def _fuzzed(label: str, read: Callable[[Path], None], folder: Path, setting: Setting) -> Row:
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
                path = draw(st.sampled_from(list(_leaves(tree)) or [("a",)]))
                if isinstance(path[-1], str) and draw(st.integers(0, 4)) == 0:  # another key
                    tree = _changed(tree, (*path[:-1], draw(st.text(max_size=10))), draw(VALUES))
                else:
                    tree = _changed(tree, path, draw(VALUES))
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

    return _given(label, setting.times(1_500, 30), setting, check, content())


def _overrides(setting: Setting) -> Row:
    """A path, right or drawn, and a value, drawn or as text."""
    paths = [".".join(map(str, path)) for path in _leaves(loader.load("demo").model_dump(mode="json"))]
    keys = (
        st.sampled_from(paths)
        | st.text(max_size=20)
        | st.lists(st.sampled_from(["fit", "a", "", "stages"])).map(".".join)
    )
    values = VALUES.map(_inline) | st.text(max_size=30)
    drawn = st.tuples(keys, values).map("=".join) | st.text(max_size=40)

    def check(override: str) -> str:
        return fault_of(lambda: loader.load("demo", [override]), "SET", "demo.yaml")

    return _given("fuzzed overrides", setting.times(3_000, 100), setting, check, drawn)


def _tables(setting: Setting) -> Row:
    """Tables of cells that are right, of another column, or drawn; in several encodings and with any delimiter."""
    for name in ("a.wav", "b.wav", "c.txt", "ü.flac"):
        Path(name).touch()
    words = [
        "path",
        "emotion",
        "speaker",
        "sex",
        "id",
        "a.wav",
        "b.wav",
        "c.txt",
        "ü.flac",
        "sad",
        "Angry",
        "ann",
        "Ann",
        "f",
        "",
    ]
    odd = [
        "~",
        "~nobody/x.wav",
        "/dev/zero",
        "x" * 5_000,
        "a\nb",
        "..",
        "\0",
        "'",
        '"',
        "\ufeff",
        "\x1b[31m",
        "C:\\a.wav",
        "sad ",
    ]
    cell = st.sampled_from([*words, *odd]) | st.text(max_size=8)
    quoted = cell.map(lambda text: '"' + text.replace('"', '""') + '"')
    line = st.lists(cell | quoted, max_size=6)
    good = st.lists(st.tuples(st.sampled_from(["a.wav", "b.wav"]), cell, cell | quoted).map(list), max_size=3)
    lines = st.tuples(st.just(["path", "emotion", "speaker"]), good, st.lists(line, max_size=3)).map(
        lambda t: [t[0], *t[1], *t[2]]
    )
    text = st.tuples(lines | st.lists(line, max_size=5), st.sampled_from(",;\t|")).map(
        lambda drawn: "\n".join(drawn[1].join(cells) for cells in drawn[0])
    )
    encoding = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"])
    drawn = st.tuples(text, encoding).map(lambda t: t[0].encode(t[1], "replace")) | st.binary(max_size=60)

    def check(content: bytes) -> str:
        Path("mine.csv").write_bytes(content)
        return fault_of(lambda: list(table.read(Path("nowhere"), path="mine.csv")), "mine.csv")

    return _given("fuzzed CSV tables", setting.times(3_000, 100), setting, check, drawn)


# ---------------------------------------------------------------- extreme values


def _bounds(model: type[BaseModel], name: str) -> list[Any]:
    """Returns values of a setting that its own schema accepts, the smallest and the largest of a few."""
    accepted = []
    for value in (-(10**9), -1, 0, 1e-9, 1, 0.5, 0.999, 2, 1_000, 100_000, 10**9, 1e15, 2**62):
        try:
            checked = getattr(model.model_validate({name: value}), name)
        except ValueError:
            continue
        accepted.append(checked)
    return [accepted[0], accepted[-1]] if accepted else []


def _extreme_overrides() -> list[list[str]]:
    """Returns overrides that give one numeric setting of one part, or of the schema, its smallest or its largest value."""
    found = []
    for kind, field in (
        ("features", "features"),
        ("models", "model"),
        ("augment", "augment"),
        ("protocols", "protocol"),
    ):
        for name in parts.names(kind):
            arguments = parts.arguments(kind, name)
            if any(info.is_required() for info in arguments.model_fields.values()):
                continue
            chosen = [f"augment.{name}=on"] if kind == "augment" else [f"{field}={name}"]
            prefix = f"augment.{name}" if kind == "augment" else field
            for setting in arguments.model_fields:
                found += [[*chosen, f"{prefix}.{setting}={value!r}"] for value in _bounds(arguments, setting)]
    for group in ("audio", "data", "fit", "answer"):
        model = type(getattr(loader.load("demo"), group))
        for setting in model.model_fields.keys() - {"devices", "stages"}:
            found += [[f"{group}.{setting}={value!r}"] for value in _bounds(model, setting)]
    stage = type(loader.load("demo").fit.stages["small"])
    for setting in stage.model_fields:
        found += [[f"fit.stages.small.{setting}={value!r}"] for value in _bounds(stage, setting)]
    return sorted(found)


class _Building:
    """Builds the data and the model of an experiment on generated voices with overrides, and returns the fault."""

    def __init__(self, cache: Path):
        self.cache = cache

    def __call__(self, overrides: list[str]) -> str:
        from emotion_lightning.training.build import build

        def run() -> None:
            given = [
                "corpora.demo={speakers: 4, takes: 1}",
                f"data.cache={self.cache}",
                "fit.precision=32",
                *overrides,
            ]
            build(loader.load("demo_small_cnn", given), Console(quiet=True))

        setting = overrides[-1].partition("=")[0]
        return fault_of(
            run,
            setting,
            setting.split(".")[-1],
            "demo.yaml",
            "SET",
            *setting.split(".")[:1],
            "fit.stages",
            "features",
            "model",
        )


def _extremes(setting: Setting) -> Row:
    chosen = _extreme_overrides()
    chosen = chosen[:: max(1, round(1 / setting.share))]
    faults = []
    with Worker(_Building, Path("cache").resolve(), seconds=120, megabytes=6_000) as worker:
        for overrides in chosen:
            try:
                fault = worker.ask(overrides)
            except Lost as lost:
                fault = str(lost)
            if fault:
                faults.append(f"{' '.join(overrides)}: {fault}")
    return Row("the smallest and the largest value of each number", len(chosen), tuple(faults))


# ---------------------------------------------------------------- whole commands


def _commands(setting: Setting) -> Row:
    """A wrong file or override with each command: status 2, clear lines, no traceback, no run."""
    folder = Path("commands")
    (folder / "experiments" / "studies").mkdir(parents=True)
    files = {f"experiments/e{i}.yaml": SPECIAL[i] for i in range(0, len(SPECIAL), 5)}
    files |= {f"experiments/studies/s{i}.yaml": SPECIAL[i] for i in range(3, len(SPECIAL), 8)}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "mine.csv").write_bytes(b"path,emotion,speaker\n~nobody/x.wav,sad,ann\n")
    commands = [["train", Path(name).stem] for name in files if "studies" not in name]
    commands += [["study", Path(name).stem] for name in files if "studies" in name]
    commands += [
        ["train", "demo", f"{path}={value}"]
        for path, value in (("seed", 2**70), ("fit.ema", ".nan"), ("\x1b[31m", 1), ("a" * 5_000, 1))
    ]
    commands += [
        ["train", "demo", *words]
        for words in (["corpora=table"], ["corpora.table.path=~nobody/x"], ["--corpora", "\udcff"])
    ]
    commands += [
        ["train", "demo", "corpora=table", "corpora.table.path=mine.csv"],
        ["train", "x" * 300],
        ["study", "x" * 300],
    ]
    commands += [
        [word, "a\x01b"] for word in ("train", "study", "report", "honesty", "audit", "sanity", "data", "weights")
    ]
    chosen = commands[:: max(1, round(0.25 / setting.share))]
    faults = [f"{words}: {fault}" for words in chosen if (fault := _command_fault(folder, words))]
    return Row("whole commands", len(chosen), tuple(faults))


def _command_fault(folder: Path, words: Sequence[str]) -> str:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "MLFLOW_TRACKING_URI": "", "OMP_NUM_THREADS": "1"}
    command: list[str | bytes] = [sys.executable, "-m", "emotion_lightning", *map(os.fsencode, words)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=300, check=False)
    said = done.stderr.decode(errors="replace")
    if done.returncode != 2 or "Traceback" in said or not said.startswith("error: "):
        return f"status {done.returncode}: {' '.join(said.split())[-300:]}"
    if not all(line.isprintable() for line in said.splitlines()):
        return f"not a clear line: {said[:200]!r}"
    if (folder / "mlruns").exists() and words[0] != "report":  # which opens the store to look for the study
        return "it left mlruns/"
    shutil.rmtree(folder / "mlruns", ignore_errors=True)
    return ""
