"""The interface of engines, which run the cells of a study, and the code that runs one cell in its process.

An engine has slots, numbered from 0. Each runs one job at a time. `process_engine` is the engine of one machine,
`ray_engine` that of a cluster.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rich.console import Console

from emotion_lightning.config.schema import Experiment
from emotion_lightning.errors import UserError, machine_fault

Name = Literal["processes", "ray"]


@dataclass(frozen=True)
class Choice:
    """The choice of an engine. `jobs`: runs at once, None for the engine's default; `gpus`: of one run, for Ray only.

    Raises: UserError for numbers that make no sense.
    """

    name: Name = "processes"
    jobs: int | None = None
    gpus: float | None = None

    def __post_init__(self) -> None:
        if self.jobs is not None and self.jobs < 1:
            raise UserError(f"JOBS={self.jobs}: at least one process is needed")
        if self.gpus is not None and self.name != "ray":
            raise UserError("GPUS is the share of a GPU that a run takes on a cluster; it needs ENGINE=ray")
        if self.gpus is not None and not 0 < self.gpus <= 1:
            raise UserError(f"GPUS={self.gpus:g}: a run takes one GPU or a share of one, such as 0.25")


@dataclass(frozen=True)
class Job:
    """One cell to run; `resume` is the id of the run to continue, None for a new run."""

    experiment: Experiment
    tags: dict[str, str]
    resume: str | None


@dataclass(frozen=True)
class JobEvent:
    """An event of a running job.

    `epoch`: an epoch is done. `finished`: the job is done. `refused`: a UserError before a run was opened. `failed`: the run
    FAILED. `died`: the process has ended (out of memory, a signal, the end of its node).
    """

    kind: Literal["epoch", "finished", "refused", "failed", "died"]
    epoch: int = 0
    text: str = ""
    figures: dict[str, float] | None = None


class Engine(Protocol):
    jobs: int
    """The number of slots: how many runs at once."""

    def start(self, slot: int, job: Job) -> None:
        """Starts the job in a free slot."""

    def events(self, seconds: float) -> list[tuple[int, JobEvent]]:
        """Returns the new events, each with its slot; waits up to so many seconds for the first one."""

    def stop(self) -> None:
        """Ends all runs as KILLED and waits until their processes are gone."""

    def close(self) -> None:
        """Releases processes and cluster."""


def run_job(job: Job, on_event: Callable[[JobEvent], None]) -> JobEvent:
    """Runs the job in this process and returns its last event; `on_event` gets an event for each epoch.

    Raises: signals.Killed on SIGTERM and SIGINT.
    """
    from emotion_lightning.train import train

    def on_epoch(figures: dict[str, float], epoch: int) -> None:
        on_event(JobEvent("epoch", epoch, figures=figures))

    try:
        result: Any = train(job.experiment, Console(quiet=True), _resumable(job), job.tags, on_epoch)
    except UserError as error:
        return JobEvent("failed" if error.in_run else "refused", text=" ".join(str(error).split("\n")[:3]))
    except Exception as error:
        reason = machine_fault(error) or f"{type(error).__name__}: {error}".split("\n")[0][:300]
        return JobEvent("failed", text=reason)
    return JobEvent("finished", figures=result.figures)


def _resumable(job: Job) -> str | None:
    """Returns the id of the run to resume; None where this machine has neither its checkpoint nor was the one that ran it."""
    from emotion_lightning.tracking import environment, store
    from emotion_lightning.tracking.resume import check
    from emotion_lightning.train import work_folder

    if job.resume is None:
        return None
    host = store.find_run(store.connect(), job.resume).data.tags.get("machine/host")
    if host != environment.process_tags()["machine/host"] and not (work_folder(job.resume) / "last.ckpt").exists():
        return None
    with suppress(UserError):
        return check(job.experiment, job.resume)
    return None
