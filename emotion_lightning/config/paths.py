"""Paths as users write them: any text may stand where a path is expected."""

from pathlib import Path


def is_file(path: Path) -> bool:
    """Returns whether there is such a file; a text that is too long for a name is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def at_home(path: Path) -> Path:
    """Replaces ~ by the home folder; a path that begins with the ~ of no user stays."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path
