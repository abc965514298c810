"""The console of the commands. Neither the encoding of a terminal nor a closed pipe can break a run."""

import os
import signal
import sys

from rich.console import Console
from rich.text import Text

from emotion_lightning.errors import printable_lines


class CommandConsole(Console):
    """A console whose closed pipe (`make train … | head`) ends a run as KILLED, so that it can be resumed."""

    def on_broken_pipe(self) -> None:
        from emotion_lightning.tracking.signals import Killed

        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is still in the buffer goes nowhere
        raise Killed(signal.SIGPIPE)


def replace_unprintable() -> None:
    """Prints "?" for what the encoding of the terminal lacks, where Python would raise an error (LC_ALL=C)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def print_error(message: str) -> None:
    """Prints an error to stderr: a path may contain [brackets], and a name what would change the terminal."""
    Console(stderr=True).print("[red]error:[/]", Text(printable_lines(message)), soft_wrap=True, highlight=False)
