"""Checks before a study starts, so that a mistake does not replace its plan and its report."""

import os
from collections.abc import Iterable
from pathlib import Path

from emotion_lightning.config.schema import Experiment
from emotion_lightning.corpora import open_corpus
from emotion_lightning.errors import UserError


def require_writable(folder: Path) -> None:
    """Checks that a folder can be made or written, before the first run and not after the last.

    Raises: UserError where it cannot.
    """
    nearest = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise UserError(f"'{folder}' cannot be written, because '{nearest}' is not a folder that can be written")


def require_corpora(experiments: Iterable[Experiment]) -> None:
    """Checks that one of the experiments, at least, has its corpora, before a study changes its plan or its report.

    Raises: UserError where none has; the message is that of the first one.
    """
    fault: UserError | None = None
    # the cells of a study mostly have the same corpora, which take time to list
    distinct = {f"{experiment.corpora} {experiment.data.dir}": experiment for experiment in experiments}
    for experiment in distinct.values():
        try:
            for name, args in experiment.corpora.items():
                open_corpus(name, args, Path(experiment.data.dir), Path(experiment.data.cache))
            return
        except UserError as error:
            fault = fault or error
    if fault:
        raise fault
