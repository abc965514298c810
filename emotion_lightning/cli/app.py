"""The Typer application that every command belongs to, and what the commands share."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from emotion_lightning.cli.console import CommandConsole, print_error
from emotion_lightning.config import parts
from emotion_lightning.errors import UserError

app = typer.Typer(
    help="Speech emotion recognition experiments on PyTorch Lightning, tracked in MLflow, honest about their splits.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
console = CommandConsole()


@app.callback()
def common(
    parts_folder: Annotated[
        Path | None,
        typer.Option("--parts", help="a folder of your own corpora/, models/, augment/ … (docs/adding.md)"),
    ] = None,
) -> None:
    if parts_folder:
        if not parts_folder.is_dir():
            raise UserError(f"PARTS: there is no folder '{parts_folder}'")
        os.environ[parts.ENVIRONMENT] = str(parts_folder.resolve())


def all_overrides(
    overrides: list[str] | None, corpora: str | None, data: Path | None, cache: Path | None
) -> list[str]:
    """Returns all overrides of a command: those of the options first, so that the user's own have precedence."""
    names = [] if corpora is None else [f"corpora={json.dumps(corpora.replace(',', ' ').split())}"]
    folders = [f"data.{key}={json.dumps(str(path))}" for key, path in (("dir", data), ("cache", cache)) if path]
    return [*names, *(overrides or []), *folders]


@contextmanager
def report_stop(title: str) -> Iterator[None]:
    """Prints one line where a signal stops the command; `title` is what was stopped."""
    from emotion_lightning.tracking.signals import Killed

    try:
        yield
    except Killed as killed:
        print_error(f"{title} was stopped; the same command continues it")
        raise typer.Exit(128 + killed.signum) from None
