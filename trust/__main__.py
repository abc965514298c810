"""Command line of the fault suite: `python -m trust [NAME …] [--share 0.1]`, as in `make trust`."""

import importlib
import pkgutil
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from rich.console import Console

import trust
from benchmarks import document
from benchmarks.timing import stamp
from emotion_lightning.errors import nearest
from trust.rows import HEADER, Row, Setting

DOCUMENT = Path("docs/trust.md")
HARNESS = {"rows", "__main__"}
console = Console()


def names() -> list[str]:
    """Returns the names of all parts: the modules with a function `rows`."""
    modules = [module.name for module in pkgutil.iter_modules(trust.__path__) if module.name not in HARNESS]
    return [name for name in modules if hasattr(load(name), "rows")]


def load(name: str) -> ModuleType:
    """Imports the part `name`."""
    return importlib.import_module(f"trust.{name}")


def main(
    chosen: Annotated[list[str] | None, typer.Argument(metavar="[NAME]…", help="without names, all parts")] = None,
    share: Annotated[float, typer.Option(min=0.001, help="share of the tries; below 1 nothing is written")] = 1.0,
    seed: Annotated[int, typer.Option(help="of the random faults")] = 0,
) -> None:
    """Try each fault, print the tables, write them to docs/trust.md, and end with 1 if anything was lost."""
    for name in chosen or []:
        if name not in names():
            raise typer.BadParameter(f"no part '{name}'{nearest(name, names())}")
    faults = 0
    for name in chosen or names():
        faults += sum(len(row.faults) for row in _measured(name, share, seed))
    if faults:
        console.print(f"[red]{faults} faults[/]")
        raise typer.Exit(1)


def _measured(name: str, share: float, seed: int) -> list[Row]:
    """Runs a part, prints its table, and writes it where the number of tries is the full one."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        rows = list(load(name).rows(Setting(Path(work), share, seed)))
    cells = [row.cells() for row in rows]
    document.show(name, HEADER, cells, console)
    for row in rows:
        for fault in row.faults:
            console.print(f"[red]{row.label}:[/] {fault}", soft_wrap=True, markup=True)
    if share >= 1:
        minutes = f"`python -m trust {name} --seed {seed}`, {(time.monotonic() - start) / 60:.1f} minutes"
        document.write(DOCUMENT, name, HEADER, cells, f"{minutes}; {stamp()}")
    return rows


if __name__ == "__main__":
    typer.run(main)
