"""Runs the command line: every command is in one of the four files that are imported here."""

import sys

from emotion_lightning.cli import run_commands, store_commands, study_commands, trained_commands  # noqa: F401 - each adds its commands to the app
from emotion_lightning.cli.app import app
from emotion_lightning.cli.console import print_error, replace_unprintable
from emotion_lightning.config import ranks
from emotion_lightning.errors import UserError, machine_fault
from emotion_lightning.tracking import shutdown


def main() -> None:
    """Runs the command line; an error that the user can correct is printed as one line, with exit status 2."""
    from emotion_lightning.tracking.signals import Killed

    replace_unprintable()
    try:
        app()
    except Killed as killed:  # of a command without a run
        shutdown.fast_exit(128 + killed.signum)
    except SystemExit as stop:
        if isinstance(stop.code, str):
            raise
        shutdown.fast_exit(stop.code or 0)
    except UserError as error:
        print_error(ranks.with_rank(str(error)))
        shutdown.fast_exit(2)
    except Exception as error:
        message = (_server_message(error) if "mlflow" in sys.modules else "") or machine_fault(error)
        if not message:
            raise
        print_error("; ".join([message, *getattr(error, "__notes__", [])]))
        shutdown.fast_exit(2)


def _server_message(error: Exception) -> str:
    """Returns the message for a server that became unreachable during a command; empty for any other error."""
    from emotion_lightning.tracking import server, store

    return (
        server.unreachable_message(store.shown_uri(), server.short_reason(error))
        if server.is_unreachable(error)
        else ""
    )


if __name__ == "__main__":
    main()
