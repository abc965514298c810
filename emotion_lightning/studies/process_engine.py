"""The engine of one machine: long-lived processes, which import torch once and train one run after another.

A process gets its jobs over a pipe. It ends when its parent ends, so a killed study leaves no process that still writes. It
has its own session: on Ctrl-C it gets one SIGTERM from its parent, and its run ends as KILLED.
"""

import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from emotion_lightning.studies.engine import Job, JobEvent, run_job
from emotion_lightning.tracking import environment, shutdown


class ProcessEngine:
    """One process for each slot, started with its first job.

    The cores are divided by `jobs`, not by the number of cells that are left. So a resumed study computes the same figures
    as an uninterrupted one.
    """

    def __init__(self, jobs: int):
        self.jobs = jobs
        self.threads = max(1, environment.cores() // jobs)
        self.workers: dict[int, Worker] = {}

    def start(self, slot: int, job: Job) -> None:
        if slot not in self.workers:
            self.workers[slot] = Worker(self.threads)
        self.workers[slot].start(job)

    def events(self, seconds: float) -> list[tuple[int, JobEvent]]:
        wait([worker.pipe for worker in self.workers.values()], seconds)
        events = []
        for slot, worker in list(self.workers.items()):
            while slot in self.workers and (event := worker.event()):
                events.append((slot, event))
                if event.kind == "died":
                    self.workers.pop(slot).end()
        return events

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.terminate()
        self.close()

    def close(self) -> None:
        for slot in list(self.workers):
            self.workers.pop(slot).end()


class Worker:
    """One process; `threads` is the number of cores that it may use."""

    def __init__(self, threads: int):
        context = multiprocessing.get_context("spawn")  # forking a process that has torch or CUDA loaded is not safe
        self.pipe, pipe_of_process = context.Pipe()
        before = os.environ.get("OMP_NUM_THREADS")
        threads = min(threads, int(before)) if before and before.isdigit() else threads
        os.environ["OMP_NUM_THREADS"] = str(threads)  # read when the new process loads torch
        self.process = context.Process(target=_serve, args=(pipe_of_process, threads))
        try:
            self.process.start()
        finally:
            del os.environ["OMP_NUM_THREADS"]
            if before is not None:
                os.environ["OMP_NUM_THREADS"] = before
        pipe_of_process.close()

    def start(self, job: Job) -> None:
        with suppress(OSError):  # `event` reports a dead process
            self.pipe.send(job)

    def event(self) -> JobEvent | None:
        """Returns the next event, None if there is none yet."""
        try:
            return self.pipe.recv() if self.pipe.poll() else None
        except (EOFError, OSError):
            self.process.join()
            code = self.process.exitcode or 0
            cause = signal.Signals(-code).name if code < 0 else f"exit status {code}"
            return JobEvent("died", text=f"its process died ({cause}{'; out of memory?' if code == -9 else ''})")

    def terminate(self) -> None:
        if self.process.is_alive():
            os.kill(self.process.pid or 0, signal.SIGTERM)

    def end(self) -> None:
        """Lets the process finish its job; waits until it has ended."""
        with suppress(OSError):
            self.pipe.send(None)
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, threads: int) -> None:
    """Runs one job after another in the new process, until it gets None or its parent ends."""
    os.setsid()
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    import torch

    from emotion_lightning.tracking.signals import Killed

    torch.set_num_threads(threads)
    try:
        while (job := _next_job(pipe)) is not None:
            pipe.send(run_job(job, pipe.send))
    except Killed as killed:
        os._exit(128 + killed.signum)
    shutdown.fast_exit(0)


def _next_job(pipe: Connection) -> Job | None:
    with suppress(EOFError):
        return pipe.recv()
    return None


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        wait([parent.sentinel])
        os._exit(1)
