"""A study: arms × protocols × folds × seeds, read from a YAML file and spelt out as one experiment a cell.

    about: what the table shows
    arms:
      svm:                                      # an experiment by its name
      svm_c10: {experiment: svm, set: {model.C: 10}}
      resnet_scratch: {protocols: {speaker_folds: {folds: [0], seeds: 1}}}   # fewer runs, where one takes an hour
    protocols:
      paper_random: {seeds: 5}
      speaker_folds: {folds: 5, seeds: 3}

A seed is that of weights, order and augmentation, and of the split as well where the protocol draws one.
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
from emotion_lightning.config.schema import Args, Experiment, Settings
from emotion_lightning.errors import UserError, nearest


def _numbers_or_count(value: Any) -> Any:
    numbers = value if isinstance(value, list) else [value - 1] if type(value) is int else []
    if not numbers or not all(type(n) is int and n >= 0 for n in numbers) or len(set(numbers)) < len(numbers):
        raise ValueError("it should be a count from 1, or a list of different numbers from 0")
    return value


Numbers = Annotated[int | list[int], PlainValidator(_numbers_or_count)]
"""3 stands for 0, 1, 2."""


def _or_default(value: Any) -> Any:
    """`svm:` with nothing behind it asks for the defaults."""
    return {key: {} if item is None else item for key, item in value.items()} if isinstance(value, dict) else value


class Runs(Settings):
    """Which runs of one protocol: folds × seeds."""

    folds: Numbers | None = Field(
        None, description="5: all folds of five; [0, 2]: only these, of as many as the study or the protocol has"
    )
    seeds: Numbers = Field(1, description="3: seeds 0, 1, 2; or a list")
    set: Args = Field(default_factory=dict, description="settings of the protocol")


class Arm(Settings):
    experiment: str = Field("", description="its experiment; the arm's own name if empty")
    label: str = Field("", description="its name in tables and figures")
    set: Args = Field(default_factory=dict, description="overrides, {dotted.path: value}")
    against: str = Field("", description="the arm that its paired tests are against; the one before it if empty")
    protocols: Annotated[dict[str, Runs], BeforeValidator(_or_default)] = Field(
        default_factory=dict, description="runs of this arm that differ from the study's, by protocol"
    )


class Study(Settings):
    name: str
    about: str = ""
    command: str = Field("", description="what runs it again; make study STUDY=<name> if empty")
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
    return [folder / "studies" for folder in settings.folders()]


def names() -> list[str]:
    return sorted({file.stem for folder in folders() for file in folder.glob("*.yaml")})


def load(name: str) -> Study:
    """The study of that name (or path of a YAML file)."""
    file = Path(name) if name.endswith((".yaml", ".yml")) else None
    file = file or next((f for folder in folders() if (f := folder / f"{name}.yaml").is_file()), None)
    if file is None or not file.is_file():
        raise UserError(f"no study named '{name}'{nearest(name, names())}")
    study = settings.validate(Study, {**settings.read(file), "name": file.stem}, file)
    for name in (study.name, *study.arms):
        if not re.fullmatch(r"[\w.-]+", name, re.ASCII):
            raise UserError(
                f"{file}: '{name}': a study's and an arm's name has letters, digits, _ - . only (see `label`)"
            )
    for arm, chosen in study.arms.items():
        if chosen.against and chosen.against not in study.arms:
            raise UserError(
                f"{file}: arms.{arm}.against: no arm '{chosen.against}'{nearest(chosen.against, study.arms)}"
            )
        for path in chosen.set:
            _refuse_the_studys_own(path, f"{file}: arms.{arm}.set")
        for protocol in chosen.protocols.keys() - study.protocols.keys():
            raise UserError(f"{file}: arms.{arm}.protocols.{protocol}: the study has no such protocol")
    return study


HONEST = {  # protocol → the folds of its whole
    "leaky_rows": None,
    "random": 5,
    "speaker_folds": 5,
    "text_independent": 2,
}


def honesty(name: str, overrides: Iterable[str] = (), folds: int | None = None) -> Study:
    """The study of one experiment under leaky rows, by clip, by speaker and by sentence; `folds` runs only so many of each.

    An experiment that makes no rows gets four a clip (augment.copies) under every protocol, since else there is nothing to leak.
    """
    experiment = settings.load(name, overrides)
    makes_rows = any(parts.entry("augment", a)(**args).stage == "rows" for a, args in experiment.augment.items())
    protocols = {}
    for protocol, whole in HONEST.items():
        if whole and protocol == "speaker_folds":  # SAVEE has four speakers
            whole = min(whole, _speakers(experiment) or whole)
        run = whole if folds is None or whole is None else list(range(min(folds, whole)))
        leaky = {"i_know_this_leaks": True} if parts.fact("protocols", protocol, "LEAKS", False) else {}
        protocols[protocol] = Runs(folds=run, set=leaky | ({"folds": whole} if whole else {}))
    return Study(
        name=f"honesty_{experiment.name}_{'-'.join(experiment.corpora)}",
        about=f"{experiment.about or experiment.name}: what the split is worth",
        command=f"make honesty EXP={name}" + (f" FOLDS={folds}" if folds else ""),
        arms={experiment.name: Arm(experiment=name, set={} if makes_rows else {"augment.copies": {}})},
        protocols=protocols,
    )


def _speakers(experiment: Experiment) -> int:
    """How many speakers its corpora have by their own account; 0 where one of them cannot say."""
    official = [parts.fact("corpora", name, "ABOUT", None).official for name in experiment.corpora]
    return sum(len({speaker for speaker, _ in counts}) for counts in official) if all(official) else 0


def _refuse_the_studys_own(path: str, where: str) -> None:
    if path == "seed" or path.split(".")[0] == "protocol":
        raise UserError(f"{where}: {path} is the study's own: its `protocols` say which seeds, folds and settings")


def cells(study: Study, overrides: Iterable[str] = ()) -> list[Cell]:
    """All runs, seed by seed and fold by fold, so that a study that was broken off has something of every arm.

    An override `key.path=value` is every arm's, `arm:key.path=value` that arm's alone.
    """
    by_arm = _by_arm(study, overrides)
    found = [
        c for arm in study.arms for protocol in study.protocols for c in _cells(study, arm, protocol, by_arm[arm])
    ]
    if taken := [c for c in found if ranks.resolve_ranks(c.experiment.fit).count > 1]:
        raise UserError(
            f"{taken[0].arm}: fit.devices: a study's runs take one device each; JOBS=n runs several at once"
        )
    same: dict[str, Cell] = {}
    split: dict[tuple[str, int | None, int], Cell] = {}
    for cell in found:
        other = same.setdefault(cell.experiment.signature(), cell)
        if other is not cell:
            raise UserError(f"study {study.name}: '{other}' and '{cell}' are the same settings")
        other = split.setdefault((cell.protocol, cell.fold, cell.seed), cell)
        if other.experiment.protocol != cell.experiment.protocol:
            raise UserError(
                f"study {study.name}: '{other}' and '{cell}' differ in their protocol's settings; say them in "
                f"the study: protocols.{cell.protocol}.set"
            )
    arms, protocols = list(study.arms), list(study.protocols)
    return sorted(found, key=lambda c: (c.seed, c.fold or 0, protocols.index(c.protocol), arms.index(c.arm)))


def _by_arm(study: Study, overrides: Iterable[str]) -> dict[str, list[str]]:
    by_arm: dict[str, list[str]] = {arm: [] for arm in study.arms}
    for override in overrides:
        arm, colon, path = override.partition("=")[0].rpartition(":")
        _refuse_the_studys_own(path, "SET")
        if colon and arm not in by_arm:
            raise UserError(f"SET: {override}: the study has no arm '{arm}'{nearest(arm, by_arm)}")
        for name in [arm] if colon else by_arm:
            by_arm[name].append(override.removeprefix(f"{arm}:"))
    return by_arm


def _cells(study: Study, arm: str, protocol: str, overrides: list[str]) -> Iterator[Cell]:
    chosen, runs = study.arms[arm], study.arms[arm].protocols.get(protocol, study.protocols[protocol])
    name, where = chosen.experiment or arm, f"study {study.name}, arm {arm}"
    known = parts.arguments("protocols", protocol).model_fields
    if runs.folds is not None and "fold" not in known:
        raise UserError(f"study {study.name}: protocols.{protocol}.folds: the protocol has no folds")
    whole = runs.folds if isinstance(runs.folds, int) else study.protocols[protocol].folds
    shared = study.protocols[protocol].set | ({"folds": whole} if isinstance(whole, int) and "folds" in known else {})
    own = [f"{path}={json.dumps(value)}" for path, value in chosen.set.items()]
    settings.load(name, own, where)  # so that a fault is told of where it stands
    for fold in [None] if runs.folds is None else _numbers(runs.folds):
        for seed in _numbers(runs.seeds):
            args = shared | runs.set
            args |= {} if fold is None else {"fold": fold}
            args |= {"split_seed": seed} if "split_seed" in known else {}
            said = [
                f"protocol={protocol}",
                f"seed={seed}",
                *(f"protocol.{k}={json.dumps(v)}" for k, v in args.items()),
            ]
            try:
                experiment = settings.load(name, [*own, *said, *overrides])
            except UserError as error:
                raise UserError(f'{where}: {error}; SET="{arm}:key.path=value" would be of this arm only') from None
            args = experiment.protocol.args
            if args.get("fold", 0) >= args.get("folds", float("inf")):
                raise UserError(
                    f"{where}: protocols.{protocol}.folds: {args['fold']} is not one of 0…{args['folds'] - 1}"
                )
            yield Cell(arm, protocol, args.get("fold"), seed, experiment)


def _numbers(given: int | list[int]) -> list[int]:
    return list(range(given)) if isinstance(given, int) else given
