"""The smallest and the largest value that each numeric setting accepts, in a process with little memory."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from rich.console import Console

from emotion_lightning.config import loader, parts
from trust.bad_settings.judge import fault_of
from trust.experiments import VOICES
from trust.rows import Row, Setting
from trust.workers import Lost, Worker

FIELDS = {"features": "features", "models": "model", "augment": "augment", "protocols": "protocol"}
"""The setting that names a part, by the kind of part."""


def _bounds(model: type[BaseModel], name: str) -> list[Any]:
    """Returns values of a setting that its own schema accepts, the smallest and the largest of a few."""
    accepted = []
    for value in (-(10**9), -1, 0, 1e-9, 1, 0.5, 0.999, 2, 1_000, 100_000, 10**9, 1e15, 2**62):
        try:
            checked = getattr(model.model_validate({name: value}), name)
        except ValueError:
            continue
        accepted.append(checked)
    return [accepted[0], accepted[-1]] if accepted else []


def _overrides() -> list[list[str]]:
    """Returns overrides that give one numeric setting of one part, or of the schema, its smallest or its largest value."""
    found = []
    for kind, field in FIELDS.items():
        for name in parts.names(kind):
            arguments = parts.arguments(kind, name)
            if any(info.is_required() for info in arguments.model_fields.values()):
                continue
            chosen = [f"augment.{name}=on"] if kind == "augment" else [f"{field}={name}"]
            prefix = f"augment.{name}" if kind == "augment" else field
            for setting in arguments.model_fields:
                found += [[*chosen, f"{prefix}.{setting}={value!r}"] for value in _bounds(arguments, setting)]
    for group in ("audio", "data", "fit", "answer"):
        model = type(getattr(loader.load("demo"), group))
        for setting in model.model_fields.keys() - {"devices", "stages"}:
            found += [[f"{group}.{setting}={value!r}"] for value in _bounds(model, setting)]
    stage = type(loader.load("demo").fit.stages["small"])
    for setting in stage.model_fields:
        found += [[f"fit.stages.small.{setting}={value!r}"] for value in _bounds(stage, setting)]
    return sorted(found)


class _Building:
    """Builds the data and the model of an experiment on generated voices with overrides, and returns the fault."""

    def __init__(self, cache: Path):
        self.cache = cache

    def __call__(self, overrides: list[str]) -> str:
        from emotion_lightning.training.build import build

        def run() -> None:
            given = [VOICES, f"data.cache={self.cache}", "fit.precision=32", *overrides]
            build(loader.load("demo_small_cnn", given), Console(quiet=True))

        setting = overrides[-1].partition("=")[0]
        group, *_, last = setting.split(".")
        return fault_of(run, setting, last, "demo.yaml", "SET", group, "fit.stages", "features", "model")


def each_number(setting: Setting) -> Row:
    """Builds the data and the model for each of these values."""
    chosen = _overrides()
    chosen = chosen[:: max(1, round(1 / setting.share))]
    faults = []
    with Worker(_Building, Path("cache").resolve(), seconds=120, megabytes=6_000) as worker:
        for overrides in chosen:
            try:
                fault = worker.ask(overrides)
            except Lost as lost:
                fault = str(lost)
            if fault:
                faults.append(f"{' '.join(overrides)}: {fault}")
    return Row("the smallest and the largest value of each number", len(chosen), tuple(faults))
