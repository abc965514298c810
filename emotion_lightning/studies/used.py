"""Finds the runs that studies use: what `make report` reads, and what `make study` would resume."""

from collections.abc import Iterator

from mlflow.tracking import MlflowClient

from emotion_lightning.studies import state
from emotion_lightning.tracking import store


def runs_by_study(client: MlflowClient) -> dict[str, set[str]]:
    """Returns, for each study that has been run, the ids of its own run and of the runs of its cells."""
    return {name: set(_runs_of(client, name)) for name in _names(client)}


def _names(client: MlflowClient) -> set[str]:
    return {name for run in store.runs(client, "tags.kind = 'study'") if (name := run.data.tags.get("study", ""))}


def _runs_of(client: MlflowClient, name: str) -> Iterator[str]:
    parent, plan = state.read_plan(client, name)
    yield parent.info.run_id
    for cell in state.states(client, (cell.signature for cell in plan.cells)).values():
        if cell.run and cell.status != "failed":
            yield cell.run.info.run_id
