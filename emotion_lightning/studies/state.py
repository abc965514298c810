"""Decides which cells of a study have to run, from their runs in MLflow. Also opens the study's own run in MLflow.

The run of a cell is found by the signature of its settings, never by a name. So runs of `make train` and of other studies
count, and an interrupted study continues where it stopped.
"""

import re
import socket
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlflow.entities import Metric, Run
from mlflow.tracking import MlflowClient
from pydantic import ValidationError

from emotion_lightning.errors import UserError, nearest
from emotion_lightning.studies.plan import Plan
from emotion_lightning.studies.study import Cell
from emotion_lightning.tracking import environment, store
from emotion_lightning.tracking import run as tracking

PLAN_FILE = "study.json"
PARENT_TAG = "mlflow.parentRunId"


@dataclass(frozen=True)
class CellState:
    """The state of a cell. `missing`: there is no run; `killed`: the run can be resumed where its checkpoint is."""

    status: Literal["finished", "running", "killed", "failed", "missing"]
    run: Run | None = None
    reason: str = ""

    @property
    def must_run(self) -> bool:
        """Returns whether the study has to run or resume the cell."""
        return self.status in ("killed", "failed", "missing")


def states(client: MlflowClient, signatures: Iterable[str]) -> dict[str, CellState]:
    """Returns the state of each signature. Of several runs, a finished one counts first, then running, killed, failed."""
    wanted, runs = set(signatures), defaultdict[str, list[Run]](list)
    for run in store.runs(client):
        if (signature := run.data.tags.get("signature", "")) in wanted:
            runs[signature].append(run)
    return {signature: _state(runs[signature]) for signature in wanted}


def state(client: MlflowClient, signature: str) -> CellState:
    """Returns the state of one signature."""
    return _state(list(store.runs(client, f"tags.signature = '{signature}'")))


def mark_killed_if_dead(client: MlflowClient, signature: str, parent_id: str) -> CellState:
    """Sets the run of a cell whose process has ended from RUNNING to KILLED; returns the cell's state."""
    for run in store.runs(client, f"tags.signature = '{signature}' and attributes.status = 'RUNNING'"):
        if run.data.tags.get(PARENT_TAG) == parent_id:  # a run of another study is left alone
            client.set_terminated(run.info.run_id, "KILLED")
    return state(client, signature)


def _state(runs: Sequence[Run]) -> CellState:
    """Returns the state of a cell from all of its runs, the newest first."""
    by_status = defaultdict[str, list[Run]](list)
    for run in runs:
        by_status[run.info.status].append(run)
    # a run whose status MLflow set at the exit of its process has no test scores
    tested = [run for run in by_status["FINISHED"] if any(name.startswith("test/") for name in run.data.metrics)]
    if tested:
        return CellState("finished", tested[-1])  # the oldest: a later run changes no table
    if by_status["RUNNING"]:
        run = by_status["RUNNING"][0]
        host, run_id = run.data.tags.get("machine/host", "some machine"), run.info.run_id[:8]
        reason = (
            f"still running on {host}; if it is not, delete run {run_id} on MLflow's page and start the study again"
        )
        return CellState("running", run, reason)
    if by_status["KILLED"]:
        killed = by_status["KILLED"]
        on_this_host = [run for run in killed if run.data.tags.get("machine/host") == socket.gethostname()]
        return CellState("killed", (on_this_host or killed)[0], "killed before it had finished")
    if by_status["FAILED"]:
        run = by_status["FAILED"][0]
        return CellState("failed", run, run.data.tags.get("failure", "failed"))
    return CellState("missing")


def find_parent(client: MlflowClient, name: str) -> Run | None:
    """Returns the study's own run, the newest if there are several.

    Raises: UserError for a name that no study can have: its report is written to reports/NAME.
    """
    if re.search(r"[/\\'\"]", name) or name in (".", ".."):
        raise UserError(f"'{name}' is not the name of a study")
    return next(store.runs(client, f"tags.study = '{name}' and tags.kind = 'study'"), None)


def open_parent(client: MlflowClient, plan: Plan, cell: Cell) -> Run:
    """Sets the study's own run to RUNNING and writes the plan to it; a new one is made in `cell`'s MLflow experiment."""
    tags = {"kind": "study", "study": plan.name, "DEMO": str(plan.demo)}
    tags |= {**environment.process_tags(), **environment.commit_tags()}
    run = find_parent(client, plan.name)
    if run is None:
        experiment_id = tracking.experiment_id(client, cell.experiment)
        name = ("DEMO " if plan.demo else "") + f"study {plan.name}"
        run = client.create_run(experiment_id, run_name=name, tags=tags)
    else:
        for key, value in tags.items():
            client.set_tag(run.info.run_id, key, value)
        client.update_run(run.info.run_id, "RUNNING")
    write_plan(client, run.info.run_id, plan)
    return run


def write_plan(client: MlflowClient, parent_id: str, plan: Plan) -> None:
    """Writes the plan to the study's own run."""
    client.log_text(parent_id, plan.model_dump_json(indent=1), PLAN_FILE)


def read_plan(client: MlflowClient, name: str) -> tuple[Run, Plan]:
    """Returns the study's own run and the plan in it.

    Raises: UserError where no study of that name has been run, where it was killed before it had written its plan, and for a
        plan that cannot be read.
    """
    if (run := find_parent(client, name)) is None:
        known = {r.data.tags.get("study", "") for r in store.runs(client, "tags.kind = 'study'")}
        raise UserError(
            f"no study '{name}' has been run at {store.shown_uri()}{nearest(name, known)}"
            + ("" if known else f"; `make study STUDY={name}` runs it")
        )
    if (plan := plan_of(client, run)) is None:
        raise UserError(f"study {name} was killed before its first run; `make study STUDY={name}` runs it")
    return run, plan


def plan_of(client: MlflowClient, run: Run) -> Plan | None:
    """Returns the plan in a study's own run; None where the study was killed before it had written it."""
    if PLAN_FILE not in {file.path for file in client.list_artifacts(run.info.run_id)}:
        return None
    with store.artifact(run, PLAN_FILE) as file:
        content = file.read_bytes()
    try:
        return Plan.model_validate_json(content)
    except ValidationError as error:
        reason = " ".join(str(error.errors()[0]["msg"]).split())
        raise UserError(f"{PLAN_FILE} of the study's run {run.info.run_id[:8]} cannot be read ({reason})") from None


def log_report(client: MlflowClient, parent_id: str, folder: Path, means: Mapping[str, float], note: str) -> None:
    """Logs a report to the study's own run: files as artifacts, `note` (Markdown) as its description, new means as metrics."""
    client.log_artifacts(parent_id, str(folder), "report")
    now, known = int(time.time() * 1000), client.get_run(parent_id).data.metrics
    new = [Metric(name, value, now, 0) for name, value in means.items() if known.get(name) != value]
    client.log_batch(parent_id, metrics=new)
    client.set_tag(parent_id, "mlflow.note.content", note)


def cell_tags(study: str, cell: Cell, parent_id: str) -> dict[str, str]:
    """Returns the tags that a study adds to the run of a cell, by which MLflow's pages group runs."""
    return {PARENT_TAG: parent_id, "arm": cell.arm, f"study/{study}": cell.arm}


def tag_existing_run(client: MlflowClient, run: Run, study: str, cell: Cell, parent_id: str) -> None:
    """Adds the study's tags to a run that existed before. A run can belong to several studies; its own tags are kept."""
    for key, value in cell_tags(study, cell, parent_id).items():
        if key not in run.data.tags:
            client.set_tag(run.info.run_id, key, value)
