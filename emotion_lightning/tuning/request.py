"""The request of a search: the experiment, its ranges, the numbers of trials and of inner folds. Imports no torch."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emotion_lightning.config import loader as settings
from emotion_lightning.config.schema import Experiment
from emotion_lightning.config.search import SearchRange
from emotion_lightning.errors import UserError, nearest

INNER_FOLDS = 3
FIXED = {
    *("name", "about", "search", "seed", "corpora", "emotions", "protocol"),
    *("data.dir", "data.cache", "data.samples", "data.on_bad_clip", "data.permute_labels"),
    *("fit.devices", "fit.accelerator", "fit.log_model", "fit.refit", "fit.keep", "fit.monitor"),
}
"""Settings that say what is scored, and how, or where. Scores under two values of them cannot be compared."""
EXAMPLE = "search: {model.C: {low: 0.1, high: 100, log: true}}"


@dataclass(frozen=True)
class Request:
    """A search. `name` is what the user typed for the experiment, `overrides` are the changes of its settings."""

    name: str
    overrides: tuple[str, ...]
    experiment: Experiment
    trials: int
    folds: int = INNER_FOLDS

    @property
    def ranges(self) -> dict[str, SearchRange]:
        """The values to try, by dotted path."""
        return self.experiment.search

    def with_values(self, values: Mapping[str, Any]) -> Experiment:
        """Returns the experiment with these values of its settings.

        Raises: UserError for a value that is not valid.
        """
        changes = [f"{path}={json.dumps(value)}" for path, value in values.items()]
        return settings.load(self.name, [*self.overrides, *changes], "search")


def make_request(name: str, overrides: Sequence[str], trials: int, folds: int = INNER_FOLDS) -> Request:
    """Loads the experiment and checks that every value of its ranges is valid.

    Raises: UserError for an experiment without `search`, a path that is no setting, and a value that is not valid.
    """
    if trials < 1:
        raise UserError(f"TRIALS={trials}: at least one trial is needed")
    if folds < 2:
        raise UserError(f"INNER={folds}: at least two inner folds are needed")
    request = Request(name, tuple(overrides), settings.load(name, overrides), trials, folds)
    if not request.ranges:
        raise UserError(f"{request.experiment.name}: the file names no settings to search; add for example {EXAMPLE}")
    for path, candidates in request.ranges.items():
        _require_setting(path, candidates, request.experiment)
        for value in candidates.examples():
            request.with_values({path: value})
    return request


def _require_setting(path: str, candidates: SearchRange, experiment: Experiment) -> None:
    """Raises UserError for a path that is no setting of the experiment, or one that may not be searched."""
    if path in FIXED or path.startswith(("corpora.", "emotions.", "protocol.")):
        raise UserError(
            f"search: {path}: this cannot be searched, since scores under two of its values do not compare"
        )
    is_switch = path.startswith("augment.") and path.count(".") == 1
    if is_switch and all(isinstance(choice, bool) for choice in candidates.choices or [None]):
        if path.removeprefix("augment.") in experiment.augment:  # an entry that is off cannot be switched off
            return
        raise UserError(
            f"search: {path}: it is off in the experiment; switch it on, and the search can switch it off"
        )
    known = experiment.flat()
    if path not in known:
        raise UserError(f"search: {path}: no such setting of {experiment.name}{_similar(path, known)}")


def _similar(path: str, known: Mapping[str, str]) -> str:
    """Returns the nearest valid path; without one, the list would be long, so it names the command that lists them."""
    found = nearest(path, known)
    return found if found.startswith("; did you mean") else "; `make train` logs all settings by these paths"
