"""Draws the settings of a trial from the ranges of an experiment."""

import json
from collections.abc import Mapping
from typing import Any

from optuna.trial import Trial

from emotion_lightning.config.schema import Experiment
from emotion_lightning.config.search import SearchRange

Value = bool | int | float | str | None


def draw(trial: Trial, ranges: Mapping[str, SearchRange]) -> dict[str, Any]:
    """Returns a value for each path."""
    return {path: _draw(trial, path, candidates) for path, candidates in ranges.items()}


def _draw(trial: Trial, path: str, candidates: SearchRange) -> Any:
    if candidates.choices:
        encoded = [_encode(choice) for choice in candidates.choices]
        drawn = trial.suggest_categorical(path, encoded)
        return candidates.choices[encoded.index(drawn)]
    low, high = candidates.low, candidates.high
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(path, low, high, step=int(candidates.step or 1), log=candidates.log)
    assert low is not None and high is not None  # the settings were checked
    drawn = trial.suggest_float(path, low, high, step=candidates.step, log=candidates.log)
    return round(drawn, 10) if candidates.step else drawn  # 0.3, and not 0.30000000000000004


def _encode(choice: Any) -> Value:
    """Returns the choice as Optuna stores it: a list or a mapping as text."""
    return json.dumps(choice) if isinstance(choice, list | dict) else choice


def present_values(experiment: Experiment, ranges: Mapping[str, SearchRange]) -> dict[str, Value] | None:
    """Returns the experiment's own values as Optuna stores them; None if one of them is not among the candidates."""
    values: dict[str, Value] = {}
    for path, candidates in ranges.items():
        value = _value(experiment, path)
        if not _contains(candidates, value):
            return None
        values[path] = _encode(value)
    return values


def _value(experiment: Experiment, path: str) -> Any:
    tree: Any = experiment.model_dump(mode="json")
    for key in path.split("."):
        tree = tree[key]
    is_switch = path.startswith("augment.") and path.count(".") == 1
    return True if is_switch else tree  # an augmentation that is off cannot be searched


def _contains(candidates: SearchRange, value: Any) -> bool:
    if candidates.choices:
        return value in candidates.choices
    low, high, step = candidates.low, candidates.high, candidates.step
    if type(value) not in (int, float) or low is None or high is None or not low <= value <= high:
        return False
    if candidates.is_whole and not isinstance(value, int):
        return False
    return step is None or abs((value - low) / step - round((value - low) / step)) < 1e-6
