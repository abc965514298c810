"""`python -m benchmarks [NAME …] [--data DIR] [--check]`: see the Makefile's `bench` and `bench-check`."""

import importlib
import pkgutil
import re
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import benchmarks
from benchmarks.timing import HEADER, NotHere, Row, Setting, stamp
from emotion_lightning.errors import nearest

DOCUMENT = Path("docs/benchmarks.md")
HARNESS = {"timing", "__main__", "trainers"}
console = Console()


def names() -> list[str]:
    return [m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name not in HARNESS]


def load(name: str) -> ModuleType:
    if name not in names():
        raise typer.BadParameter(f"no benchmark '{name}'{nearest(name, names())}")
    return importlib.import_module(f"benchmarks.{name}")


def main(
    chosen: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]…", help="all that need nothing else if none")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="folder of real corpora, for what is measured on them")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="interleaved rounds of each row")] = 5,
    check: Annotated[
        bool, typer.Option("--check", help="write nothing; status 1 if a guarded ratio has fallen")
    ] = False,
) -> None:
    """Measure, print the tables, and write them into docs/benchmarks.md."""
    modules = [load(name) for name in chosen or names()]
    if not chosen:
        modules = [
            m for m in modules if not getattr(m, "OPTIONAL", False) and (not check or getattr(m, "GUARDED", False))
        ]
    fallen: list[Row] = []
    for module in modules:
        name = module.__name__.split(".")[-1]
        with tempfile.TemporaryDirectory() as work:
            try:
                rows = list(module.rows(Setting(data and data.resolve(), Path(work), rounds)))
            except NotHere as lack:
                console.print(f"{name}: not measured, {lack}", soft_wrap=True)
                continue
        show(name, rows)
        fallen += [row for row in rows if not row.meets(row.guard)]
        if not check:
            write(name, rows)
    for row in fallen if check else ():
        console.print(f"[red]fallen:[/] {row.what}: {row.figure:.3g}, guarded at {row.guard:g}", soft_wrap=True)
    if check and fallen:
        raise typer.Exit(1)


def show(name: str, rows: list[Row]) -> None:
    table = Table(title=name)
    for column in HEADER:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row.cells())
    console.print(table)


def write(name: str, rows: list[Row]) -> None:
    """Puts the table between its marks in the document; what is written around the marks stays."""
    lines = [HEADER, ("---",) * len(HEADER), *(row.cells() for row in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    section = f"<!-- {name} -->\n{table}\n\n{stamp()}\n<!-- /{name} -->"
    text = DOCUMENT.read_text(encoding="utf-8")
    marked = re.compile(rf"<!-- {name} -->.*?<!-- /{name} -->", re.DOTALL)
    text = (
        marked.sub(lambda _: section, text) if marked.search(text) else f"{text.rstrip()}\n\n## {name}\n\n{section}\n"
    )
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
