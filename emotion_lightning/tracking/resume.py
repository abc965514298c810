"""Checks whether a run can be resumed: it exists, it was not finished, and its settings are the same."""

from collections.abc import Mapping

from emotion_lightning.config import loader as settings
from emotion_lightning.config import ranks
from emotion_lightning.config.schema import MACHINE_DATA, MACHINE_FIT, Experiment
from emotion_lightning.errors import UserError
from emotion_lightning.tracking import run as tracking
from emotion_lightning.tracking import store

MACHINE = tuple(
    f"{group}.{name}" for group, names in (("data", MACHINE_DATA), ("fit", MACHINE_FIT)) for name in sorted(names)
)
"""Settings that may change when a run is resumed."""


def require_same_data(run_id: str, tags: Mapping[str, str]) -> None:
    """Compares the digest of clips, labels and features in the tags of the present start with that of the run.

    Raises:
        UserError: they differ.
    """
    before = store.find_run(store.connect(), run_id).data.tags.get("data/digest")
    if before not in (None, tags["data/digest"]):
        raise UserError(
            f"RESUME: the clips, labels or features have changed since run {run_id[:8]} was started; train anew"
        )


def check(experiment: Experiment, run_id: str) -> str:
    """Returns the run's full id.

    Raises:
        UserError: the run cannot be resumed; the message gives the reason.
    """
    client = store.connect()
    run = store.find_run(client, run_id)
    if ranks.current_rank():
        return str(run.info.run_id)  # rank zero does the checks
    tracking.sweep(client)
    status = client.get_run(run.info.run_id).info.status
    if status == "FINISHED":
        raise UserError(f"RESUME: run {run_id} has finished; there is nothing to resume")
    if status == "RUNNING":
        raise UserError(f"RESUME: run {run_id} is running on {run.data.tags.get('machine/host', 'some machine')}")
    # a run that was killed at once may lack params
    logged = {**experiment.flat(), **run.data.params}
    changed = [line for line in settings.difference(logged, experiment) if not line.startswith(MACHINE)]
    if changed:
        raise UserError(f"RESUME: run {run_id} was started with other settings: " + "; ".join(changed))
    return str(run.info.run_id)
