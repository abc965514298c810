"""The plan of a study: its arms and cells as they were last run. It is stored in the study's MLflow run; reports read it."""

from collections.abc import Mapping, Sequence

from emotion_lightning.config.schema import USES_TEST_SPEAKERS, Experiment, Settings
from emotion_lightning.studies.study import Arm, Cell, Study


class PlannedArm(Settings):
    """An arm. `changed`: it changes settings of its experiment, so published figures of the experiment do not apply to it.

    An ensemble has the arms of `mean_of` and no runs of its own.
    """

    name: str
    label: str
    about: str
    experiment: str
    corpora: tuple[str, ...]
    against: str = ""
    changed: bool = False
    mean_of: tuple[str, ...] = ()


class PlannedCell(Settings):
    """A cell. `reason`: why no run could be opened; empty if one was."""

    arm: str
    protocol: str
    fold: int | None
    seed: int
    signature: str
    reason: str = ""


class Plan(Settings):
    """Everything that a report needs to know about a study besides the runs themselves."""

    name: str
    about: str
    command: str = ""
    demo: bool
    leaky: tuple[str, ...] = ()  # protocols that put variants of a clip into two splits
    overrides: tuple[str, ...] = ()
    protocols: tuple[str, ...]
    arms: tuple[PlannedArm, ...]
    cells: tuple[PlannedCell, ...]


def make_plan(study: Study, cells: Sequence[Cell], overrides: Sequence[str], reasons: Mapping[str, str]) -> Plan:
    """Makes the plan of a study; `reasons` says, by signature, why a cell could not be run."""
    return Plan(
        name=study.name,
        about=study.about,
        command=study.command,
        demo=any(cell.experiment.is_demo for cell in cells),
        leaky=tuple(dict.fromkeys(cell.protocol for cell in cells if cell.experiment.is_leaky)),
        overrides=tuple(o for o in overrides if not o.startswith(("data.dir", "data.cache"))),
        protocols=tuple(study.protocols),
        arms=_planned_arms(study, cells),
        cells=tuple(_planned_cell(cell, reasons) for cell in cells),
    )


def _planned_arms(study: Study, cells: Sequence[Cell]) -> tuple[PlannedArm, ...]:
    experiments = {cell.arm: cell.experiment for cell in reversed(cells)}  # of the first cell of each arm
    return tuple(
        PlannedArm(
            name=name,
            label=_label(name, arm, of_runs),
            about=f"the mean probability of {', '.join(arm.mean_of)}" if arm.mean_of else of_runs.about,
            experiment="" if arm.mean_of else of_runs.name,
            corpora=tuple(of_runs.corpora),
            against=arm.against,
            changed=bool(arm.set),
            mean_of=tuple(arm.mean_of),
        )
        for name, arm in study.arms.items()
        for of_runs in [experiments[(arm.mean_of or [name])[0]]]
    )


def _label(name: str, arm: Arm, experiment: Experiment) -> str:
    mark = f" ({USES_TEST_SPEAKERS})" if experiment.data.normalise_speakers else ""
    return (arm.label or name) + mark


def _planned_cell(cell: Cell, reasons: Mapping[str, str]) -> PlannedCell:
    signature = cell.experiment.signature()
    return PlannedCell(
        arm=cell.arm,
        protocol=cell.protocol,
        fold=cell.fold,
        seed=cell.seed,
        signature=signature,
        reason=reasons.get(signature, ""),
    )
