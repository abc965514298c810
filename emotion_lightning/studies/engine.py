"""What runs the cells of a study, on this machine or on a cluster: what an engine is asked, and what it tells.

An engine has slots, numbered from 0; each runs one job at a time. `workers` has the engine of this machine, `ray_engine`
that of a cluster.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rich.console import Console

from emotion_lightning.config.schema import Experiment
from emotion_lightning.errors import UserError

Name = Literal["processes", "ray"]


@dataclass(frozen=True)
class Choice:
    """Which engine. `jobs`: runs at once, as the engine sees fit if None; `gpus`: of one run, Ray's alone."""

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
    experiment: Experiment
    tags: dict[str, str]
    resume: str | None


@dataclass(frozen=True)
class News:
    """`epoch`: one is done; `finished`; `refused`: a UserError before a run was opened; `failed`: the run FAILED;
    `died`: the process is gone (out of memory, a signal, with its node)."""

    kind: Literal["epoch", "finished", "refused", "failed", "died"]
    epoch: int = 0
    text: str = ""
    figures: dict[str, float] | None = None


class Engine(Protocol):
    jobs: int
    """Slots: how many runs at once."""

    def start(self, slot: int, job: Job) -> None:
        """Starts the job on a slot that has none."""

    def news(self, seconds: float) -> list[tuple[int, News]]:
        """(slot, news) of all that has something to say; waits for it up to so many seconds."""

    def stop(self) -> None:
        """Ends all runs as KILLED and waits until their processes are gone."""

    def close(self) -> None:
        """Lets go of processes and cluster."""


def do(job: Job, tell: Callable[[News], None]) -> News:
    """Does the job in this process; `tell` hears of each epoch. Raises `signals.Killed` on SIGTERM and SIGINT."""
    from emotion_lightning.train import train

    def watch(figures: dict[str, float], epoch: int) -> None:
        tell(News("epoch", epoch, figures=figures))

    try:
        result: Any = train(job.experiment, Console(quiet=True), _resumable(job), job.tags, watch)
    except UserError as error:
        return News("failed" if error.in_run else "refused", text=" ".join(str(error).split("\n")[:3]))
    except Exception as error:
        return News("failed", text=f"{type(error).__name__}: {error}".split("\n")[0][:300])
    return News("finished", figures=result.figures)


def _resumable(job: Job) -> str | None:
    """The run to go on in; None, for a new one, where it cannot be gone on with: here is neither its checkpoint nor the
    machine on which it was killed."""
    from emotion_lightning.tracking import environment as machine
    from emotion_lightning.tracking import store
    from emotion_lightning.tracking.resume import check
    from emotion_lightning.train import work_folder

    if job.resume is None:
        return None
    host = store.find(store.connect(), job.resume).data.tags.get("machine/host")
    if host != machine.process()["machine/host"] and not (work_folder(job.resume) / "last.ckpt").exists():
        return None
    with suppress(UserError):
        return check(job.experiment, job.resume)
    return None
