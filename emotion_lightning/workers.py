"""Processes that train one run after another: torch is imported once a worker, not once a run.

A worker is talked to over a pipe and dies with the process that started it, so a killed study leaves nothing behind that
still writes. It has its own session: Ctrl-C reaches it as one SIGTERM from its parent, and its run ends as KILLED.
"""

import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Literal

from rich.console import Console

from emotion_lightning.errors import UserError
from emotion_lightning.experiment import Experiment


@dataclass(frozen=True)
class Job:
    experiment: Experiment
    tags: dict[str, str]
    resume: str | None


@dataclass(frozen=True)
class News:
    """`epoch`: one is done; `finished`; `refused`: a UserError before a run was opened; `failed`: the run FAILED;
    `died`: the process is gone (out of memory, a signal)."""

    kind: Literal["epoch", "finished", "refused", "failed", "died"]
    epoch: int = 0
    text: str = ""
    figures: dict[str, float] | None = None


class Worker:
    """One process. `threads`: cores it may use."""

    def __init__(self, threads: int):
        context = multiprocessing.get_context("spawn")  # forking a process that has torch or CUDA loaded is not safe
        self.pipe, theirs = context.Pipe()
        before = os.environ.get("OMP_NUM_THREADS")
        threads = min(threads, int(before)) if before and before.isdigit() else threads
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when the new process loads torch
        self.process = context.Process(target=_serve, args=(theirs, threads))
        try:
            self.process.start()
        finally:
            del os.environ["OMP_NUM_THREADS"]
            if before is not None:
                os.environ["OMP_NUM_THREADS"] = before
        theirs.close()

    def start(self, job: Job) -> None:
        with suppress(OSError):  # a dead one is told of by `news`
            self.pipe.send(job)

    def news(self) -> News | None:
        """The next message, None if there is none yet."""
        try:
            return self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            cause = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            return News("died", text=f"its process died ({cause}{'; out of memory?' if code == -9 else ''})")

    def end(self, signum: signal.Signals | None = None) -> None:
        """Lets it finish (None), or terminates its run; waits until it is gone."""
        if signum is None:
            with suppress(OSError):
                self.pipe.send(None)
        elif self.process.is_alive():
            os.kill(self.process.pid or 0, signum)
        self.process.join()
        self.pipe.close()


def wait_for_news(workers: list[Worker], seconds: float) -> None:
    """Returns when any worker has something to say, or after so many seconds."""
    wait([worker.pipe for worker in workers], seconds)


def _serve(pipe: Connection, threads: int) -> None:
    """A worker's life: import, then one job after another until None or the end of its parent."""
    os.setsid()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(threads)
    while (job := _next(pipe)) is not None:
        pipe.send(_do(job, pipe))


def _next(pipe: Connection) -> Job | None:
    with suppress(EOFError):
        return pipe.recv()
    return None


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        wait([parent.sentinel])
        os._exit(1)


def _resumable(job: Job) -> str | None:
    """The run to go on in; None, for a new one, where it cannot be gone on with."""
    from emotion_lightning.resume import check

    with suppress(UserError):
        return check(job.experiment, job.resume) if job.resume else None
    return None


def _do(job: Job, pipe: Connection) -> News:
    from emotion_lightning.tracking import Killed
    from emotion_lightning.train import train

    def watch(figures: dict[str, float], epoch: int) -> None:
        pipe.send(News("epoch", epoch, figures=figures))

    try:
        result: Any = train(job.experiment, Console(quiet=True), _resumable(job), job.tags, watch)
    except UserError as error:
        return News("failed" if error.in_run else "refused", text=" ".join(str(error).split("\n")[:3]))
    except Killed as killed:
        os._exit(128 + killed.signum)
    except Exception as error:
        return News("failed", text=f"{type(error).__name__}: {error}".split("\n")[0][:300])
    return News("finished", figures=result.figures)
