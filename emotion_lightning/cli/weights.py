"""`make weights`: lists the pretrained weights, or fetches one set and checks it."""

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from emotion_lightning import weights
from emotion_lightning.weights.fetch import fetch, find


def show(console: Console) -> None:
    """Prints a table of all weights: size, licence, and whether they are on this machine with the right SHA-256."""
    table = Table("weights", "what they are", "size", "licence", "here", title="make weights NAME=…")
    for name in weights.files():
        about = weights.load(name)
        found = find(about)
        table.add_row(name, about.title, decimal(about.size), about.licence, found.source if found else "no")
    console.print(table)


def fetch_and_check(name: str, console: Console) -> None:
    """Prints what the weights are, fetches them from the first source that has the right bytes, and names it.

    Raises: UserError if no source has them.
    """
    about = weights.load(name)
    sources = ", ".join(str(source) for source in about.sources)
    for line in (
        f"{about.title} ({decimal(about.size)}, {about.licence})",
        f"citation: {about.citation}",
        f"trained on: {about.trained_on}",
        f"sources: {sources}",
    ):
        console.print(line, soft_wrap=True, markup=False)
    found = fetch(about, quiet=not console.is_terminal)
    console.print(f"complete: {found.source}, SHA-256 {about.sha256}", soft_wrap=True, markup=False)
