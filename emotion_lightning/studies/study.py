"""A study: arms × protocols × folds × seeds, read from a YAML file; `cells` lists the experiment of each cell.

    about: what the table shows
    arms:
      svm:                                      # an experiment, by its name
      svm_c10: {experiment: svm, set: {model.C: 10}}
      resnet_scratch: {protocols: {speaker_folds: {folds: [0], seeds: 1}}}   # fewer runs, where one takes an hour
      resnet_seeds: {mean_of: [resnet_scratch]}   # an ensemble: the mean probability over the seeds of these arms
    protocols:
      paper_random: {seeds: 5}
      speaker_folds: {folds: 5, seeds: 3}

A seed sets the weights, the order of clips and the augmentation, and also the split where the protocol draws one.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts, ranks
from emotion_lightning.config.paths import is_file
from emotion_lightning.config.schema import Args, Experiment, Settings
from emotion_lightning.errors import UserError, nearest, printable, shortened


def _numbers_or_count(value: Any) -> Any:
    numbers = value if isinstance(value, list) else [value - 1] if type(value) is int else []
    if not numbers or not all(type(n) is int and n >= 0 for n in numbers) or len(set(numbers)) < len(numbers):
        raise ValueError("it should be a count from 1, or a list of different numbers from 0")
    return value


Numbers = Annotated[int | list[int], PlainValidator(_numbers_or_count)]
"""3 means 0, 1, 2."""


def _or_default(value: Any) -> Any:
    """Reads `svm:` without a value as an empty mapping, which gives the defaults."""
    return {key: {} if item is None else item for key, item in value.items()} if isinstance(value, dict) else value


class Runs(Settings):
    """The runs of one protocol: folds × seeds."""

    folds: Numbers | None = Field(None, description="5: all folds of five; [0, 2]: only these folds")
    seeds: Numbers = Field(1, description="3: seeds 0, 1, 2; or a list")
    set: Args = Field(default_factory=dict, description="settings of the protocol")


class Arm(Settings):
    """One row of the table: an experiment, perhaps with changed settings."""

    experiment: str = Field("", description="its experiment; the name of the arm if empty")
    label: str = Field("", description="its name in tables and figures")
    set: Args = Field(default_factory=dict, description="overrides, {dotted.path: value}")
    against: str = Field("", description="the arm that paired tests compare it with; the previous one if empty")
    protocols: Annotated[dict[str, Runs], BeforeValidator(_or_default)] = Field(
        default_factory=dict, description="runs of this arm that differ from the study's, by protocol"
    )
    only: list[str] = Field(
        default_factory=list, description="the protocols that the arm is run under; all of the study if empty"
    )
    mean_of: list[str] = Field(
        default_factory=list,
        description="an ensemble without runs of its own: the mean probability over these arms and their seeds",
    )


class Study(Settings):
    """A study file."""

    name: str
    about: str = ""
    command: str = Field("", description="the command that runs it; make study STUDY=<name> if empty")
    arms: Annotated[dict[str, Arm], BeforeValidator(_or_default), Field(min_length=1)]
    protocols: Annotated[dict[str, Runs], BeforeValidator(_or_default), Field(min_length=1)]


@dataclass(frozen=True)
class Cell:
    """One run of a study. `fold` is None where the protocol has none."""

    arm: str
    protocol: str
    fold: int | None
    seed: int
    experiment: Experiment

    def __str__(self) -> str:
        fold = "" if self.fold is None else f" · fold {self.fold}"
        return f"{self.arm} · {self.protocol}{fold} · seed {self.seed}"


def folders() -> list[Path]:
    """Returns the folders with studies, in the order of search."""
    return [folder / "studies" for folder in settings.folders()]


def names() -> list[str]:
    """Returns the names of all studies."""
    return sorted({file.stem for folder in folders() for file in folder.glob("*.yaml")})


def load(name: str) -> Study:
    """Reads the study of that name, or of that YAML file.

    Raises: UserError for a study that is missing or not valid.
    """
    file = Path(name) if name.endswith((".yaml", ".yml")) else None
    file = file or next((f for folder in folders() if is_file(f := folder / f"{name}.yaml")), None)
    if file is None or not is_file(file):
        raise UserError(f"no study named '{shortened(printable(name))}'{nearest(name, names())}")
    study = settings.validate(Study, {**settings.read(file), "name": file.stem}, file)
    for name in (study.name, *study.arms):
        if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
            raise UserError(
                f"{file}: '{shortened(printable(name))}': the name of a study or an arm has only letters, digits, _ - . "
                "(see `label`)"
            )
    for arm, chosen in study.arms.items():
        if chosen.against and chosen.against not in study.arms:
            raise UserError(
                f"{file}: arms.{arm}.against: no arm '{printable(chosen.against)}'{nearest(chosen.against, study.arms)}"
            )
        for path in chosen.set:
            _refuse_seed_and_protocol(path, f"{file}: arms.{arm}.set")
        for protocol in chosen.protocols.keys() - study.protocols.keys():
            raise UserError(f"{file}: arms.{arm}.protocols.{printable(protocol)}: the study has no such protocol")
        for protocol in set(chosen.only) - study.protocols.keys():
            raise UserError(f"{file}: arms.{arm}.only: the study has no protocol '{printable(protocol)}'")
        _check_ensemble(study, arm, file)
    return study


def _check_ensemble(study: Study, arm: str, file: Path) -> None:
    chosen, where = study.arms[arm], f"{file}: arms.{arm}.mean_of"
    if chosen.mean_of and (chosen.experiment or chosen.set or chosen.protocols):
        raise UserError(f"{where}: an ensemble has no runs of its own; remove its experiment, set and protocols")
    for member in chosen.mean_of:
        if member not in study.arms:
            raise UserError(f"{where}: no arm '{printable(member)}'{nearest(member, study.arms)}")
        if study.arms[member].mean_of:
            raise UserError(f"{where}: {member} is an ensemble itself; name the arms that it is made of")


def is_of_study(path: str) -> bool:
    """Returns whether a study sets this itself, for each of its cells: the seed and the protocol."""
    return path == "seed" or path.split(".")[0] == "protocol"


def _refuse_seed_and_protocol(path: str, where: str) -> None:
    if is_of_study(path):
        raise UserError(
            f"{where}: {printable(path)} belongs to the study: its `protocols` set seeds, folds and settings"
        )


def cells(study: Study, overrides: Iterable[str] = ()) -> list[Cell]:
    """Returns all cells, seed by seed and fold by fold, so that an interrupted study has some runs of every arm.

    An override `key.path=value` applies to every arm, `arm:key.path=value` to that arm only.

    Raises: UserError for overrides and settings that do not fit, and for two cells with the same settings.
    """
    by_arm = _by_arm(study, overrides)
    all_cells = [
        cell
        for arm, chosen in study.arms.items()
        if not chosen.mean_of
        for protocol in chosen.only or study.protocols
        for cell in _cells(study, arm, protocol, by_arm[arm])
    ]
    if distributed := [c for c in all_cells if ranks.resolve_ranks(c.experiment.fit).count > 1]:
        raise UserError(
            f"{distributed[0].arm}: fit.devices: each run of a study uses one device; JOBS=n runs several at once"
        )
    by_signature: dict[str, Cell] = {}
    by_split: dict[tuple[str, int | None, int], Cell] = {}
    for cell in all_cells:
        other = by_signature.setdefault(cell.experiment.signature(), cell)
        if other is not cell:
            raise UserError(f"study {study.name}: '{other}' and '{cell}' have the same settings")
        other = by_split.setdefault((cell.protocol, cell.fold, cell.seed), cell)
        if other.experiment.protocol != cell.experiment.protocol:
            raise UserError(
                f"study {study.name}: '{other}' and '{cell}' differ in the settings of their protocol; "
                f"set these for the study: protocols.{cell.protocol}.set"
            )
    arms, protocols = list(study.arms), list(study.protocols)
    return sorted(all_cells, key=lambda c: (c.seed, c.fold or 0, protocols.index(c.protocol), arms.index(c.arm)))


def _by_arm(study: Study, overrides: Iterable[str]) -> dict[str, list[str]]:
    by_arm: dict[str, list[str]] = {arm: [] for arm in study.arms}
    for override in overrides:
        arm, colon, path = override.partition("=")[0].rpartition(":")
        _refuse_seed_and_protocol(path, "SET")
        if colon and arm not in by_arm:
            raise UserError(f"SET: {override}: the study has no arm '{arm}'{nearest(arm, by_arm)}")
        for name in [arm] if colon else by_arm:
            by_arm[name].append(override.removeprefix(f"{arm}:"))
    return by_arm


def _cells(study: Study, arm: str, protocol: str, overrides: list[str]) -> Iterator[Cell]:
    chosen, runs = study.arms[arm], study.arms[arm].protocols.get(protocol, study.protocols[protocol])
    name, where = chosen.experiment or arm, f"study {study.name}, arm {arm}"
    try:
        known = parts.arguments("protocols", protocol).model_fields
    except UserError as error:
        raise UserError(printable(f"study {study.name}: protocols: {error}")) from None
    if runs.folds is not None and "fold" not in known:
        raise UserError(f"study {study.name}: protocols.{protocol}.folds: the protocol has no folds")
    whole = runs.folds if isinstance(runs.folds, int) else study.protocols[protocol].folds
    shared = study.protocols[protocol].set | ({"folds": whole} if isinstance(whole, int) and "folds" in known else {})
    own = [f"{path}={json.dumps(value)}" for path, value in chosen.set.items()]
    try:
        settings.find(name)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    settings.load(name, own, where)  # so that an error names the arm
    for fold in [None] if runs.folds is None else _numbers(runs.folds):
        for seed in _numbers(runs.seeds):
            args = shared | runs.set
            args |= {} if fold is None else {"fold": fold}
            args = ({"split_seed": seed} if "split_seed" in known else {}) | args
            assignments = [
                f"protocol={protocol}",
                f"seed={seed}",
                *(f"protocol.{k}={json.dumps(v)}" for k, v in args.items()),
            ]
            try:
                experiment = settings.load(name, [*own, *assignments, *overrides])
            except UserError as error:
                raise UserError(f'{where}: {error}; SET="{arm}:key.path=value" sets it for this arm only') from None
            args = experiment.protocol.args
            if args.get("fold", 0) >= args.get("folds", float("inf")):
                raise UserError(
                    f"{where}: protocols.{protocol}.folds: {args['fold']} is not one of 0…{args['folds'] - 1}"
                )
            yield Cell(arm, protocol, args.get("fold"), seed, experiment)


def _numbers(given: int | list[int]) -> list[int]:
    return list(range(given)) if isinstance(given, int) else given
