"""Whether a run can be gone on with: it is there, it was not finished, its settings are the same, its state is on disk."""

from emotion_lightning.config import loader as settings
from emotion_lightning.config import ranks
from emotion_lightning.config.schema import MACHINE_FIT, Experiment
from emotion_lightning.errors import UserError
from emotion_lightning.tracking import run as tracking
from emotion_lightning.tracking import store

MACHINE = ("data.dir", "data.cache", *(f"fit.{name}" for name in sorted(MACHINE_FIT)))
"""May change between two starts."""


def check(experiment: Experiment, run_id: str) -> str:
    """The run's full id, or a UserError that says why it cannot be resumed."""
    client = store.connect()
    run = store.find(client, run_id)
    if ranks.current_rank():
        return str(run.info.run_id)  # rank zero has checked, and has opened the run by now
    tracking.sweep(client)
    status = client.get_run(run.info.run_id).info.status
    if status == "FINISHED":
        raise UserError(f"RESUME: run {run_id} has finished; there is nothing to go on with")
    if status == "RUNNING":
        raise UserError(f"RESUME: run {run_id} is running on {run.data.tags.get('machine/host', 'some machine')}")
    # a run that was killed in its first moment may lack some params, or all
    there = {**experiment.flat(), **run.data.params}
    changed = [line for line in settings.difference(there, experiment) if not line.startswith(MACHINE)]
    if changed:
        raise UserError(f"RESUME: run {run_id} was started with other settings: " + "; ".join(changed))
    return str(run.info.run_id)
