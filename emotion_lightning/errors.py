"""The one error that is the user's to mend: shown as one line, without a traceback, with exit code 2."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something in the settings, the files or the machine that the message tells how to put right."""

    in_run = False  # whether a tracked run had been opened when it came up


class NotThere(UserError):
    """A corpus of which no clip is found."""


def nearest(word: str, valid: Iterable[str]) -> str:
    """`"; did you mean …?"` where a valid name is close, else the list of all of them.

    >>> nearest("mixpu", ["mixup", "noise"])
    "; did you mean 'mixup'?"
    >>> nearest("zzz", ["mixup", "noise"])
    '; there are: mixup, noise'
    """
    names = sorted(valid)
    if close := difflib.get_close_matches(word, names, n=1, cutoff=0.6):
        return f"; did you mean '{close[0]}'?"
    return f"; there are: {', '.join(names)}" if names else ""
