"""Errors that a user can correct. The command prints one line, without a traceback, and ends with status 2."""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path


class UserError(Exception):
    """An error in the settings, the files or the machine. The message says how to correct it."""

    in_run = False  # whether a tracked run was open when it was raised


class MissingCorpus(UserError):
    """Raised for a corpus without clips."""


def cannot_write_cache(folder: Path, error: OSError) -> str:
    """Returns the message for a cache folder that cannot be written."""
    return (
        f"data.cache: '{folder}' cannot be written ({error.strerror or error}); CACHE=<folder> names another folder"
    )


def listed(title: str, lines: Sequence[str], most: int = 20) -> str:
    """Returns the title and the lines below it; of many lines, the first ones and the number of the others."""
    rest = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([title, *lines[:most], *rest])


def printable(name: str) -> str:
    """Returns a name with escapes for what would break the line or change the terminal, and for bytes that are no UTF-8.

    >>> printable("two\nlines")
    'two\\\\nlines'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def shortened(text: str, most: int = 200) -> str:
    """Returns the text, or its beginning if it is long."""
    return text if len(text) <= most else f"{text[:most]}…"


def nearest(word: str, valid: Iterable[str]) -> str:
    """Returns "; did you mean …?" if a valid name is similar, else the list of all valid names.

    >>> nearest("mixpu", ["mixup", "noise"])
    "; did you mean 'mixup'?"
    >>> nearest("zzz", ["mixup", "noise"])
    '; there are: mixup, noise'
    """
    names = sorted(valid)
    if close := difflib.get_close_matches(word, names, n=1, cutoff=0.6):
        return f"; did you mean '{close[0]}'?"
    return f"; there are: {', '.join(names)}" if names else ""
