"""`make tune`: searches good settings of one experiment, and prints the file with those it found."""

from importlib.util import find_spec

from rich.console import Console

from emotion_lightning.errors import UserError
from emotion_lightning.tuning.request import make_request


def tune(name: str, overrides: list[str], trials: int, folds: int, console: Console) -> None:
    """Runs the trials that are missing; prints a line for each, and the file at the end.

    Raises: UserError where Optuna is not installed, and for whatever the search refuses.
    """
    request = make_request(name, overrides, trials, folds)
    if find_spec("optuna") is None:
        raise UserError(
            "tune: Optuna is not installed; make tune, or pip install 'emotion-lightning[tune]', installs it"
        )
    from emotion_lightning.tuning.search import search

    found = search(request, console)
    console.print(
        f"{found.file}: UAR {found.uar:.3f} ± {found.spread:.3f} on the inner folds, optimistic since it was chosen by; "
        f"{found.command}",
        soft_wrap=True,
        markup=False,
        highlight=False,
    )
