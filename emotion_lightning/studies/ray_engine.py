"""The engine of a cluster: each run is a Ray task with its share of processors and GPUs, on any node that has them free.

A task works in the folder in which the study was started, so relative paths mean the same. Every node must have that folder.
"""

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from typing import Any, TypeVar

import ray
from ray import exceptions

from emotion_lightning.studies import ray_cluster
from emotion_lightning.studies.engine import Choice, Job, JobEvent, run_job
from emotion_lightning.studies.ray_cluster import TaskEnvironment
from emotion_lightning.tracking import signals

STOP_SECONDS = 60  # time for a run to end as KILLED before its process is killed
T = TypeVar("T")


class RayEngine:
    """The engine. The task of a slot may wait in Ray's queue until a node has room for it."""

    def __init__(self, choice: Choice):
        # Ray is called in a thread: it turns an exception of a signal handler within its calls into a SystemError
        self.thread = ThreadPoolExecutor(1)
        self._call(self._join, choice)
        self.tasks: dict[int, tuple[int, Any]] = {}  # slot → number of the task, its future result
        self.numbers = count()

    def start(self, slot: int, job: Job) -> None:
        self._call(self._start, slot, job)

    def events(self, seconds: float) -> list[tuple[int, JobEvent]]:
        return self._call(self._events, seconds)

    def stop(self) -> None:
        self._call(self._stop)

    def close(self) -> None:
        self._call(ray.shutdown)
        self.thread.shutdown()

    def _call(self, function: Callable[..., T], *args: Any) -> T:
        return self.thread.submit(function, *args).result()

    def _join(self, choice: Choice) -> None:
        nodes = ray_cluster.join()
        sizes = [ray_cluster.size(node) for node in nodes]
        self.gpus = ray_cluster.gpus_per_run(choice.gpus, [gpus for _, gpus in sizes])
        self.jobs, self.cpus = ray_cluster.divide(sizes, choice.jobs, self.gpus)
        self.environment = ray_cluster.task_environment(self.cpus)
        own_node = ray.get_runtime_context().get_node_id()
        ray_cluster.prepare([node for node in nodes if node["NodeID"] != own_node], self.environment)
        options = {"num_cpus": 0, "scheduling_strategy": ray_cluster.pinned_to(own_node)}
        self.board: Any = ray.remote(_Board).options(**options).remote()

    def _start(self, slot: int, job: Job) -> None:
        gpus = 0.0 if job.experiment.fit.accelerator == "cpu" else self.gpus
        number, task = next(self.numbers), _task.options(num_cpus=self.cpus, num_gpus=gpus)
        self.tasks[slot] = number, task.remote(job, number, self.board, self.environment)

    def _events(self, seconds: float) -> list[tuple[int, JobEvent]]:
        ready = set(_wait([result for _, result in self.tasks.values()], 1, seconds))
        slots = {number: slot for slot, (number, _) in self.tasks.items()}
        events = []
        with suppress(exceptions.RayError):  # the board has epochs only: without it the runs continue
            epochs = ray.get(self.board.take.remote())
            events = [(slots[number], event) for number, event in epochs if number in slots]
        for slot, (_, result) in list(self.tasks.items()):
            if result in ready:
                del self.tasks[slot]
                events.append((slot, _outcome(result)))
        return events

    def _stop(self) -> None:
        """Cancels all tasks: a running one as by Ctrl-C, a waiting one at once."""
        results = [result for _, result in self.tasks.values()]
        for result in results:
            ray.cancel(result)
        slow = set(results) - set(_wait(results, len(results), STOP_SECONDS))
        for result in slow:
            ray.cancel(result, force=True)
        _wait(list(slow), len(slow), STOP_SECONDS)
        # ends the processes, which Ray would keep: one that was stopped during a write may hold the database's lock
        ray.shutdown()


def _wait(results: list[Any], count: int, seconds: float) -> list[Any]:
    return ray.wait(results, num_returns=count, timeout=seconds)[0] if results else []


def _outcome(result: Any) -> JobEvent:
    try:
        return ray.get(result)
    except exceptions.OutOfMemoryError:
        return JobEvent("died", text="its process died (its node is out of memory)")
    except exceptions.WorkerCrashedError:
        return JobEvent("died", text="its process died (a signal; out of memory?)")
    except exceptions.NodeDiedError:
        return JobEvent("died", text="its process died (with its node)")
    except exceptions.RayTaskError as error:
        return JobEvent("failed", text=f"{type(error.cause).__name__}: {error.cause}".split("\n")[0][:300])
    except exceptions.RayError as error:
        return JobEvent("died", text=f"its process died ({type(error).__name__})")


class _Board:
    """An actor that collects the epochs of all tasks: a task itself returns nothing before its end."""

    def __init__(self) -> None:
        self.items: list[tuple[int, JobEvent]] = []

    def put(self, number: int, event: JobEvent) -> None:
        self.items.append((number, event))

    def take(self) -> list[tuple[int, JobEvent]]:
        items, self.items = self.items, []
        return items


@ray.remote(max_retries=0)
def _task(job: Job, number: int, board: Any, environment: TaskEnvironment) -> JobEvent:
    try:
        environment.enter()
    except OSError as error:
        return JobEvent(
            "refused", text=f"{socket.gethostname()} has no folder {environment.folder} ({error.strerror})"
        )
    import torch

    torch.set_num_threads(environment.threads)
    try:
        return run_job(job, lambda event: board.put.remote(number, event))
    except signals.Killed:
        return JobEvent("died", text="its process was stopped")
