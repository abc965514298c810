"""The engine of one machine: processes that train one run after another, so that torch is imported once a process.

A process is talked to over a pipe and dies with the one that started it, so a killed study leaves nothing behind that
still writes. It has its own session: Ctrl-C reaches it as one SIGTERM from its parent, and its run ends as KILLED.
"""

import multiprocessing
import os
import signal
import threading
from contextlib import suppress
from multiprocessing.connection import Connection, wait

from emotion_lightning.studies.engine import Job, News, do
from emotion_lightning.tracking import environment as machine
from emotion_lightning.tracking import shutdown as ending


class Processes:
    """One process a slot, started with its first job. The cores are divided by `jobs`, not by how many cells are left, so
    that a study gone on with computes as an unbroken one."""

    def __init__(self, jobs: int):
        self.jobs = jobs
        self.threads = max(1, machine.cores() // jobs)
        self.workers: dict[int, Worker] = {}

    def start(self, slot: int, job: Job) -> None:
        if slot not in self.workers:
            self.workers[slot] = Worker(self.threads)
        self.workers[slot].start(job)

    def news(self, seconds: float) -> list[tuple[int, News]]:
        wait([worker.pipe for worker in self.workers.values()], seconds)
        heard = []
        for slot, worker in list(self.workers.items()):
            while slot in self.workers and (news := worker.news()):
                heard.append((slot, news))
                if news.kind == "died":
                    self.workers.pop(slot).end()
        return heard

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.terminate()
        self.close()

    def close(self) -> None:
        for slot in list(self.workers):
            self.workers.pop(slot).end()


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

    def terminate(self) -> None:
        if self.process.is_alive():
            os.kill(self.process.pid or 0, signal.SIGTERM)

    def end(self) -> None:
        """Lets it finish what it does; waits until it is gone."""
        with suppress(OSError):
            self.pipe.send(None)
        self.process.join()
        self.pipe.close()


def _serve(pipe: Connection, threads: int) -> None:
    """A worker's life: import, then one job after another until None or the end of its parent."""
    os.setsid()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    import torch

    from emotion_lightning.tracking.signals import Killed

    torch.set_num_threads(threads)
    try:
        while (job := _next(pipe)) is not None:
            pipe.send(do(job, pipe.send))
    except Killed as killed:
        os._exit(128 + killed.signum)
    ending.leave(0)


def _next(pipe: Connection) -> Job | None:
    with suppress(EOFError):
        return pipe.recv()
    return None


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent:
        wait([parent.sentinel])
        os._exit(1)
