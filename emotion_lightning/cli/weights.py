"""`make weights`: lists the pretrained weights, or fetches one set and checks it."""

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape

from emotion_lightning import weights
from emotion_lightning.weights.fetch import fetch, find


def show(console: Console) -> None:
    """Prints two lines for each set: size, licence and whether it is on this machine with the right SHA-256; what it is."""
    for name in weights.files():
        about = weights.load(name)
        found = find(about)
        here = f"here, from {found.source}" if found else f"not here; make weights NAME={name} fetches them"
        console.print(f"[bold]{name}[/]: {decimal(about.size)}, {about.licence}, {escape(here)}", soft_wrap=True)
        console.print(f"    {about.title}", soft_wrap=True, markup=False)


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
