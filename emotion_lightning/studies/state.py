"""What MLflow knows of a study: its parent run, which holds the plan, and the state of each cell.

A cell's run is found by the signature of its settings, never by a name; so runs that were trained singly, or for another
study, count, and a study that was broken off is gone on with.
"""

import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import mlflow
from mlflow.entities import Metric, Run
from mlflow.tracking import MlflowClient

from emotion_lightning.config.schema import Settings
from emotion_lightning.errors import UserError, nearest
from emotion_lightning.studies.study import Cell, Study
from emotion_lightning.tracking import environment as machine
from emotion_lightning.tracking import run as tracking
from emotion_lightning.tracking import store

PLAN = "study.json"
PARENT = "mlflow.parentRunId"


class PlannedArm(Settings):
    name: str
    label: str
    about: str
    experiment: str
    corpora: tuple[str, ...]
    against: str = ""
    changed: bool = (
        False  # whether it has settings of its own, so that figures published of the experiment are not its
    )


class PlannedCell(Settings):
    """`reason`: why there is no run, where none could be opened."""

    arm: str
    protocol: str
    fold: int | None
    seed: int
    signature: str
    reason: str = ""


class Plan(Settings):
    """A study as it was last run: all that a report needs to know beside the runs themselves."""

    name: str
    about: str
    command: str = ""
    demo: bool
    leaky: tuple[str, ...] = ()  # protocols that put copies of a clip on both sides
    overrides: tuple[str, ...] = ()
    protocols: tuple[str, ...]
    arms: tuple[PlannedArm, ...]
    cells: tuple[PlannedCell, ...]


@dataclass(frozen=True)
class State:
    """What became of a cell. `missing`: no run; `killed`: can be gone on with where its checkpoint is."""

    status: Literal["finished", "running", "killed", "failed", "missing"]
    run: Run | None = None
    reason: str = ""


def plan(study: Study, cells: Sequence[Cell], overrides: Sequence[str], reasons: Mapping[str, str]) -> Plan:
    """`reasons`: by signature, why a cell could not be run."""
    first = {cell.arm: cell.experiment for cell in reversed(cells)}
    arms = tuple(
        PlannedArm(
            name=name,
            label=arm.label or name,
            about=first[name].about,
            experiment=first[name].name,
            corpora=tuple(first[name].corpora),
            against=arm.against,
            changed=bool(arm.set),
        )
        for name, arm in study.arms.items()
    )
    planned = tuple(
        PlannedCell(
            arm=c.arm,
            protocol=c.protocol,
            fold=c.fold,
            seed=c.seed,
            signature=(signature := c.experiment.signature()),
            reason=reasons.get(signature, ""),
        )
        for c in cells
    )
    demo = any(cell.experiment.is_demo for cell in cells)
    return Plan(
        name=study.name,
        about=study.about,
        command=study.command,
        demo=demo,
        leaky=tuple(dict.fromkeys(cell.protocol for cell in cells if cell.experiment.is_leaky)),
        overrides=tuple(o for o in overrides if not o.startswith(("data.dir", "data.cache"))),
        protocols=tuple(study.protocols),
        arms=arms,
        cells=planned,
    )


def states(client: MlflowClient, signatures: Iterable[str]) -> dict[str, State]:
    """The state of each signature: a finished run wins, then one that runs, was killed (here first), failed."""
    wanted, found = set(signatures), defaultdict[str, list[Run]](list)
    for run in store.runs(client):
        if (signature := run.data.tags.get("signature", "")) in wanted:
            found[signature].append(run)
    return {signature: _state(found[signature]) for signature in wanted}


def state(client: MlflowClient, signature: str) -> State:
    """The state of one signature."""
    return _state(list(store.runs(client, f"tags.signature = '{signature}'")))


def end_dead(client: MlflowClient, signature: str, parent_id: str) -> State:
    """The state of a cell whose process is gone: what it left RUNNING becomes KILLED."""
    for run in store.runs(client, f"tags.signature = '{signature}' and attributes.status = 'RUNNING'"):
        if run.data.tags.get(PARENT) == parent_id:  # else it is another study's
            client.set_terminated(run.info.run_id, "KILLED")
    return state(client, signature)


def _state(runs: Sequence[Run]) -> State:
    by = defaultdict[str, list[Run]](list)
    for run in runs:
        by[run.info.status].append(run)
    if by["FINISHED"]:
        return State("finished", by["FINISHED"][-1])  # the oldest: a later one changes no table
    if by["RUNNING"]:
        host = by["RUNNING"][0].data.tags.get("machine/host", "some machine")
        run_id = by["RUNNING"][0].info.run_id
        reason = f"still running on {host}; if it is not, delete run {run_id[:8]} on MLflow's page and start the study again"
        return State("running", by["RUNNING"][0], reason)
    if by["KILLED"]:
        here = [run for run in by["KILLED"] if run.data.tags.get("machine/host") == socket.gethostname()]
        return State("killed", (here or by["KILLED"])[0], "killed before it had finished")
    if by["FAILED"]:
        return State("failed", by["FAILED"][0], by["FAILED"][0].data.tags.get("failure", "failed"))
    return State("missing")


def parent(client: MlflowClient, name: str) -> Run | None:
    """The study's parent run, the newest if there are several."""
    return next(store.runs(client, f"tags.study = '{name}' and tags.kind = 'study'"), None)


def open_parent(client: MlflowClient, plan: Plan, cell: Cell) -> Run:
    """The study's parent run, RUNNING; it is made in the MLflow experiment of the first cell where there is none."""
    tags = {"kind": "study", "study": plan.name, "DEMO": str(plan.demo), **machine.process(), **machine.commit()}
    run = parent(client, plan.name)
    if run is None:
        place = tracking.experiment_id(client, cell.experiment)
        run = client.create_run(place, run_name=("DEMO " if plan.demo else "") + f"study {plan.name}", tags=tags)
    else:
        for key, value in tags.items():
            client.set_tag(run.info.run_id, key, value)
        client.update_run(run.info.run_id, "RUNNING")
    write_plan(client, run.info.run_id, plan)
    return run


def write_plan(client: MlflowClient, parent_id: str, plan: Plan) -> None:
    client.log_text(parent_id, plan.model_dump_json(indent=1), PLAN)


def keep_report(client: MlflowClient, parent_id: str, folder: Path, means: Mapping[str, float], note: str) -> None:
    """The report's files as artifacts of the study's run, its means as metrics, its table as the run's description."""
    client.log_artifacts(parent_id, str(folder), "report")
    now = int(time.time() * 1000)
    client.log_batch(parent_id, metrics=[Metric(name, value, now, 0) for name, value in means.items()])
    client.set_tag(parent_id, "mlflow.note.content", note)


def read_plan(client: MlflowClient, name: str) -> tuple[Run, Plan]:
    """A study's parent run and the plan in it."""
    if (run := parent(client, name)) is None:
        known = {r.data.tags.get("study", "") for r in store.runs(client, "tags.kind = 'study'")}
        raise UserError(
            f"no study '{name}' has been run at {store.uri()}{nearest(name, known)}"
            + ("" if known else f"; `make study STUDY={name}` runs it")
        )
    file = mlflow.artifacts.download_artifacts(run_id=run.info.run_id, artifact_path=PLAN)
    return run, Plan.model_validate_json(Path(file).read_text(encoding="utf-8"))


def tags(study: str, cell: Cell, parent_id: str) -> dict[str, str]:
    """What a study adds to the tags of a cell's run, for grouping on MLflow's pages. A run may serve several studies."""
    return {PARENT: parent_id, "arm": cell.arm, f"study/{study}": cell.arm}


def adopt(client: MlflowClient, run: Run, study: str, cell: Cell, parent_id: str) -> None:
    """Tags a run that was there already, unless it has a parent."""
    added = tags(study, cell, parent_id)
    for key in [k for k in added if k not in run.data.tags]:
        client.set_tag(run.info.run_id, key, added[key])
