"""The engine of a cluster: each run is a Ray task with its share of processors and GPUs, on whichever node has it free.

A task works in the folder in which the study was started, so that relative paths mean the same; the node has to have it.
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
from emotion_lightning.studies.engine import Choice, Job, News, do
from emotion_lightning.studies.ray_cluster import Place
from emotion_lightning.tracking import signals

STOP_SECONDS = 60  # for a run to end as KILLED, before its process is killed
T = TypeVar("T")


class Cluster:
    """The engine. A slot's task may wait in Ray's queue until a node has room for it."""

    def __init__(self, choice: Choice):
        # Of its own, since Ray makes a SystemError of what a signal's handler raises within one of its calls
        self.thread = ThreadPoolExecutor(1)
        self._call(self._join, choice)
        self.tasks: dict[int, tuple[int, Any]] = {}  # slot → number of the task, its result to come
        self.numbers = count()

    def start(self, slot: int, job: Job) -> None:
        self._call(self._start, slot, job)

    def news(self, seconds: float) -> list[tuple[int, News]]:
        return self._call(self._news, seconds)

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
        self.gpus = ray_cluster.gpus_of_a_run(choice.gpus, [gpus for _, gpus in sizes])
        self.jobs, self.cpus = ray_cluster.divide(sizes, choice.jobs, self.gpus)
        self.place = ray_cluster.place(self.cpus)
        here = ray.get_runtime_context().get_node_id()
        ray_cluster.prepare([node for node in nodes if node["NodeID"] != here], self.place)
        options = {"num_cpus": 0, "scheduling_strategy": ray_cluster.on(here)}
        self.board: Any = ray.remote(_Board).options(**options).remote()

    def _start(self, slot: int, job: Job) -> None:
        gpus = 0.0 if job.experiment.fit.accelerator == "cpu" else self.gpus
        number, task = next(self.numbers), _task.options(num_cpus=self.cpus, num_gpus=gpus)
        self.tasks[slot] = number, task.remote(job, number, self.board, self.place)

    def _news(self, seconds: float) -> list[tuple[int, News]]:
        ready = set(_wait([result for _, result in self.tasks.values()], 1, seconds))
        slots = {number: slot for slot, (number, _) in self.tasks.items()}
        heard = []
        with suppress(exceptions.RayError):  # epochs are shown, nothing else: without the board the runs go on
            heard = [(slots[number], news) for number, news in ray.get(self.board.take.remote()) if number in slots]
        for slot, (_, result) in list(self.tasks.items()):
            if result in ready:
                del self.tasks[slot]
                heard.append((slot, _outcome(result)))
        return heard

    def _stop(self) -> None:
        """Ray cancels a running task as Ctrl-C would, and one that waits for its place at once."""
        results = [result for _, result in self.tasks.values()]
        for result in results:
            ray.cancel(result)
        slow = set(results) - set(_wait(results, len(results), STOP_SECONDS))
        for result in slow:
            ray.cancel(result, force=True)
        _wait(list(slow), len(slow), STOP_SECONDS)
        ray.shutdown()  # ends the processes, which Ray else keeps: one stopped amid a write may hold the database's lock


def _wait(results: list[Any], enough: int, seconds: float) -> list[Any]:
    return ray.wait(results, num_returns=enough, timeout=seconds)[0] if results else []


def _outcome(result: Any) -> News:
    try:
        return ray.get(result)
    except exceptions.OutOfMemoryError:
        return News("died", text="its process died (its node is out of memory)")
    except exceptions.WorkerCrashedError:
        return News("died", text="its process died (a signal; out of memory?)")
    except exceptions.NodeDiedError:
        return News("died", text="its process died (with its node)")
    except exceptions.RayTaskError as error:
        return News("failed", text=f"{type(error.cause).__name__}: {error.cause}".split("\n")[0][:300])
    except exceptions.RayError as error:
        return News("died", text=f"its process died ({type(error).__name__})")


class _Board:
    """Where tasks put their epochs: a task itself can tell nothing before its end."""

    def __init__(self) -> None:
        self.items: list[tuple[int, News]] = []

    def put(self, number: int, news: News) -> None:
        self.items.append((number, news))

    def take(self) -> list[tuple[int, News]]:
        items, self.items = self.items, []
        return items


@ray.remote(max_retries=0)
def _task(job: Job, number: int, board: Any, place: Place) -> News:
    try:
        place.enter()
    except OSError as error:
        return News("refused", text=f"{socket.gethostname()} has no folder {place.folder} ({error.strerror})")
    import torch

    torch.set_num_threads(place.threads)
    try:
        return do(job, lambda news: board.put.remote(number, news))
    except signals.Killed:
        return News("died", text="its process was told to end")
