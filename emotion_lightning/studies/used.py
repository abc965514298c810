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
    if (parent := state.find_parent(client, name)) is None:
        return
    yield parent.info.run_id
    plan = state.plan_of(client, parent)
    for cell in state.states(client, (cell.signature for cell in plan.cells) if plan else ()).values():
        if cell.run and cell.status != "failed":
            yield cell.run.info.run_id
