"""Command line of the benchmarks: `python -m benchmarks [NAME …] [--data DIR] [--check]`, as in `make bench`."""

import importlib
import pkgutil
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from rich.console import Console

import benchmarks
from benchmarks import document
from benchmarks.timing import HEADER, Row, Setting, Unavailable, stamp
from emotion_lightning.errors import nearest

DOCUMENT = Path("docs/benchmarks.md")
HARNESS = {"timing", "document", "__main__", "trainers"}
console = Console()


def names() -> list[str]:
    """Returns the names of all benchmarks."""
    return [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name not in HARNESS]


def load(name: str) -> ModuleType:
    """Imports the benchmark `name`. Raises: typer.BadParameter if there is none of that name."""
    if name not in names():
        raise typer.BadParameter(f"no benchmark '{name}'{nearest(name, names())}")
    return importlib.import_module(f"benchmarks.{name}")


def main(
    chosen: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]…", help="without names, all that need no other software")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="folder with real corpora; some benchmarks need it")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="interleaved rounds of each row")] = 5,
    check: Annotated[
        bool, typer.Option("--check", help="write nothing; exit status 1 if a guarded ratio is worse than its limit")
    ] = False,
) -> None:
    """Measure, print the tables, and write them to docs/benchmarks.md."""
    modules = [load(name) for name in chosen or names()]
    if not chosen:
        modules = [
            module
            for module in modules
            if not getattr(module, "OPTIONAL", False) and (not check or getattr(module, "GUARDED", False))
        ]
    failed: list[Row] = []
    for module in modules:
        name = module.__name__.split(".")[-1]
        with tempfile.TemporaryDirectory() as work:
            try:
                rows = list(module.rows(Setting(data and data.resolve(), Path(work), rounds)))
            except Unavailable as reason:
                console.print(f"{name}: not measured, {reason}", soft_wrap=True)
                continue
        cells = [row.cells() for row in rows]
        document.show(name, HEADER, cells, console)
        failed += [row for row in rows if not row.meets(row.guard)]
        if not check:
            document.write(DOCUMENT, name, HEADER, cells, stamp())
    if check and failed:
        for row in failed:
            console.print(f"[red]failed:[/] {row.label}: {row.figure:.3g}, limit {row.guard:g}", soft_wrap=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
