"""Puts generated tables into a Markdown document between marks, and leaves the text around them as it is."""

import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table


def show(name: str, header: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """Prints the rows as a table."""
    table = Table(title=name)
    for column in header:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def write(document: Path, name: str, header: Sequence[str], rows: Sequence[Sequence[str]], stamp: str) -> None:
    """Writes the table and a line of where it comes from between the marks of `name`; without marks, in a new section."""
    lines = [header, ("---",) * len(header), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    section = f"<!-- {name} -->\n{table}\n\n{stamp}\n<!-- /{name} -->"
    text = document.read_text(encoding="utf-8")
    marked = re.compile(rf"<!-- {name} -->.*?<!-- /{name} -->", re.DOTALL)
    text = (
        marked.sub(lambda _: section, text) if marked.search(text) else f"{text.rstrip()}\n\n## {name}\n\n{section}\n"
    )
    document.write_text(text, encoding="utf-8")
