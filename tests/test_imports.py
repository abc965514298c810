"""Imports inside the package go one way: a module may import the modules before it in the list, and none after it."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import emotion_lightning

PACKAGE = Path(emotion_lightning.__file__).parent
ORDER = [
    "errors", "figure", "http_file", "config", "weights", "corpora", "features", "augment", "protocols", "models", "tracking",
    "data", "audit", "training", "serving", "train", "predict", "explain", "app", "studies", "tuning", "report", "cli",
    "__main__",
]  # fmt: skip
TORCHLESS = (
    "errors", "config/parts", "config/schema", "config/ranks", "config/loader", "studies/study", "studies/made", "report/claims",
    "training/schedule", "tracking/shutdown", "tuning/request", "cli/studies", "cli/tune", "cli/explain", "cli/app", "cli/main",
)  # fmt: skip
HEAVY = {
    "torch", "torchaudio", "torchvision", "torchmetrics", "lightning", "mlflow", "timm", "sklearn", "matplotlib", "ray", "optuna",
    "captum",
}  # fmt: skip


def imported(tree: ast.Module, package: str, root: Path) -> Iterator[tuple[int, str]]:
    """(line, dotted module) of every import, also inside functions; `package` is the one that relative imports start from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for name in node.names:
                inner = root.parent / Path(*module.split("."), name.name)
                is_module = inner.is_dir() or inner.with_suffix(".py").is_file()
                yield node.lineno, f"{module}.{name.name}" if is_module else module


def backward_imports(root: Path) -> list[str]:
    """`file:line: module` for each import of a later module by an earlier one, and for modules the order does not know."""
    faults = []
    for file in sorted(root.rglob("*.py")):
        place = file.relative_to(root).with_suffix("").parts
        if place == ("__init__",):
            place = ("",)
        elif place[0] not in ORDER:
            faults.append(f"{file.relative_to(root)}: not in the order")
            continue
        package = ".".join([root.name, *file.relative_to(root).parent.parts])
        for line, module in imported(ast.parse(file.read_text(encoding="utf-8")), package, root):
            top, *rest = module.split(".")
            if top != root.name or not rest:
                continue
            if rest[0] not in ORDER or not allowed(place, rest):
                faults.append(f"{file.relative_to(root)}:{line}: {module}")
    return faults


def allowed(importer: tuple[str, ...], module: list[str]) -> bool:
    """Within a folder its `__init__` comes first."""
    rank = {"": -1} | {name: i for i, name in enumerate(ORDER)}
    if importer[0] == module[0]:
        return importer[-1] != "__init__" or len(module) == 1
    return rank[importer[0]] > rank[module[0]]


def test_imports_go_one_way() -> None:
    assert backward_imports(PACKAGE) == []


def test_the_order_names_no_removed_module() -> None:
    assert [n for n in ORDER if not (PACKAGE / n).is_dir() and not (PACKAGE / f"{n}.py").is_file()] == []


@pytest.mark.parametrize(
    ("file", "code", "fault"),
    [
        ("errors.py", "import emotion_lightning.cli", "errors.py:1: emotion_lightning.cli"),
        ("errors.py", "def f():\n    from emotion_lightning import cli", "errors.py:2: emotion_lightning.cli"),
        ("data/cache.py", "from emotion_lightning.train import train", "data/cache.py:1: emotion_lightning.train"),
        ("data/cache.py", "if True:\n  from .. import train as t", "data/cache.py:2: emotion_lightning.train"),
        (
            "models/cnn.py",
            "from ..training.classifier import C",
            "models/cnn.py:1: emotion_lightning.training.classifier",
        ),
        ("models/__init__.py", "from .cnn import C", "models/__init__.py:1: emotion_lightning.models.cnn"),
        ("__init__.py", "from .errors import E", "__init__.py:1: emotion_lightning.errors"),
        ("nowhere.py", "", "nowhere.py: not in the order"),
    ],
)
def test_a_planted_backward_import_is_found(tmp_path: Path, file: str, code: str, fault: str) -> None:
    root = tmp_path / "emotion_lightning"
    for name in (
        "models/__init__.py",
        "models/cnn.py",
        "__init__.py",
        "cli/__init__.py",
        "data/cache.py",
        "train.py",
        "errors.py",
        "training/classifier.py",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("")
    (root / "train.py").write_text("from emotion_lightning import errors\nfrom .models.cnn import x\nimport torch\n")
    assert backward_imports(root) == []
    (root / file).write_text(code)
    assert backward_imports(root) == [fault]


def at_the_top(tree: ast.Module) -> set[str]:
    """The libraries that are imported when the module is: everything outside functions."""
    inside = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.walk(node)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in inside:
            continue
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("name", TORCHLESS)
def test_what_runs_before_a_typo_is_reported_imports_no_heavy_library(name: str) -> None:
    assert at_the_top(ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))) & HEAVY == set()


def test_a_heavy_import_is_seen_at_the_top_and_passed_over_in_a_function() -> None:
    assert at_the_top(ast.parse("try:\n  import torch.nn\nexcept E: pass\nfrom mlflow import x")) == {
        "torch",
        "mlflow",
    }
    assert (
        at_the_top(ast.parse("def f():\n    import torch\nclass A:\n    async def g(self):\n        import torch"))
        == set()
    )


def test_reading_settings_and_showing_help_import_nothing_heavy() -> None:
    code = "import sys, emotion_lightning.config.loader, emotion_lightning.cli.main; print(*sys.modules)"
    variables = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert HEAVY & set(done.stdout.split()) == set()
