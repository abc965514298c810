"""Errors that a user can correct. The command prints one line, without a traceback, and ends with status 2."""

import difflib
import errno
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path


class UserError(Exception):
    """An error in the settings, the files or the machine. The message says how to correct it."""

    in_run = False  # whether a tracked run was open when it was raised

    def __init__(self, message: str):
        """Takes one line, or one for each fault; names in it may contain any characters."""
        super().__init__(printable_lines(message))


class MissingCorpus(UserError):
    """Raised for a corpus without clips."""


def cannot_write_cache(folder: Path, error: OSError) -> str:
    """Returns the message for a cache folder that cannot be written."""
    return (
        f"data.cache: '{folder}' cannot be written ({error.strerror or error}); CACHE=<folder> names another folder"
    )


FULL = (errno.ENOSPC, errno.EDQUOT)
UNWRITABLE = (errno.EIO, errno.EROFS, errno.EFBIG)
DATABASE = re.compile(r"\((?:sqlite3|psycopg2)\.(?:Operational|Database)Error\) ([^\n]+)")
"""What SQLAlchemy, and with it MLflow and Optuna, says of a database that cannot be used now."""
MEMORY = re.compile(
    r"can't allocate memory: you tried to allocate \d+ bytes|CUDA out of memory. Tried to allocate [\d.]+ \w+"
    r"|Unable to allocate [\d.]+ \w+|std::bad_alloc|CUDA out of memory|Cannot allocate memory|can't start new thread"
    r"|failed to map segment from shared object"
)


def machine_fault(error: BaseException) -> str:
    """Returns the message where the machine is at fault: a file, a full disk, a locked database, too little memory.

    Empty for any other error.
    """
    if isinstance(error, OSError) and error.errno in FULL:
        file = error.filename2 or error.filename
        return f"the disk is full ({error.strerror})" + (f": '{file}'" if file else "")
    if isinstance(error, OSError) and error.filename:
        return f"'{error.filename}': {error.strerror}"
    if isinstance(error, OSError) and error.errno in UNWRITABLE:
        return f"a file cannot be written ({error.strerror})"
    if type(error).__name__ == "LibsndfileError" and getattr(error, "code", None) == 2:  # its "System error."
        return "a sound file cannot be written; the disk may be full"
    if reason := lack_of_memory(error):
        return f"out of memory ({reason})"
    for cause in _causes(error):
        if found := DATABASE.search(str(cause)):
            return _database_fault(found[1].strip())
    return ""


def lack_of_memory(error: BaseException) -> str:
    """Returns what could not be allocated, where memory has run out, of the GPU or the machine; empty for any other error."""
    found = MEMORY.search(str(error))
    is_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if is_of_memory or (found and isinstance(error, (RuntimeError, OSError, ImportError))):
        return found[0] if found else "an allocation was refused"
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yields the error and what it was raised from."""
    cause: BaseException | None = error
    while cause:
        yield cause
        cause = cause.__cause__


def _database_fault(reason: str) -> str:
    if "locked" in reason:
        return f"another program holds the database ({reason}); give the command again when it has ended"
    if "disk is full" in reason:
        return f"the disk is full ({reason})"
    return f"the database cannot be used ({reason})"


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


def printable_lines(text: str) -> str:
    """Returns the text with its line breaks, and with escapes in each line as `printable` has them."""
    return "\n".join(map(printable, text.split("\n")))


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
