"""The engine of a cluster: each run is a Ray task with its share of processors and GPUs, on whichever node has it free.

The cluster is that of RAY_ADDRESS; without one, Ray is started on this machine alone, for this study. A task works in the
folder in which the study was started, so that relative paths mean the same; the node has to have it.
"""

import hashlib
import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from emotion_lightning import parts, tracking
from emotion_lightning.engine import Choice, Job, News, do
from emotion_lightning.errors import UserError

ADDRESS = os.environ.get("RAY_ADDRESS", "")
# Both are read when Ray is imported. Its messages on dead processes are the study's to tell, and in one line; a Ray of
# this machine alone listens on 127.0.0.1 only, by a switch whose name is of the systems where that is the default.
os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
if not ADDRESS:
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")

import ray  # noqa: E402
from ray import exceptions  # noqa: E402
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy  # noqa: E402

STOP_SECONDS = 60  # for a run to end as KILLED, before its process is killed
T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """What every task works with: folder and variables of the study's own process, and the threads of a run."""

    folder: str
    variables: Mapping[str, str]
    threads: int

    def enter(self) -> None:
        os.chdir(self.folder)
        os.environ.update(self.variables)


class Cluster:
    def __init__(self, choice: Choice):
        # Of its own, since Ray makes a SystemError of what a signal's handler raises within one of its calls
        self.thread = ThreadPoolExecutor(1)
        self._call(_join)
        alive = [node for node in self._call(ray.nodes) if node["Alive"]]
        _refuse_local_store({node["NodeManagerHostname"] for node in alive})
        sizes = [(int(n["Resources"].get("CPU", 0)), n["Resources"].get("GPU", 0.0)) for n in alive]
        self.gpus = _gpus(choice.gpus, [gpus for _, gpus in sizes])
        self.jobs, self.cpus = divide(sizes, choice.jobs, self.gpus)
        self.place = Place(str(Path.cwd()), _variables(), self.cpus)
        here = self._call(lambda: ray.get_runtime_context().get_node_id())
        self._call(_prepare, [node for node in alive if node["NodeID"] != here], self.place)
        self.board: Any = self._call(
            lambda: ray.remote(_Board).options(num_cpus=0, scheduling_strategy=_on(here)).remote()
        )
        self.tasks: dict[int, tuple[int, Any]] = {}  # slot → number of the task, its result to come
        self.numbers = count()

    def start(self, slot: int, job: Job) -> None:
        gpus = 0.0 if job.experiment.fit.accelerator == "cpu" else self.gpus
        number, task = next(self.numbers), _task.options(num_cpus=self.cpus, num_gpus=gpus)
        self.tasks[slot] = number, self._call(lambda: task.remote(job, number, self.board, self.place))

    def news(self, seconds: float) -> list[tuple[int, News]]:
        return self._call(self._news, seconds)

    def stop(self) -> None:
        self._call(self._stop)

    def close(self) -> None:
        self._call(ray.shutdown)
        self.thread.shutdown()

    def _call(self, function: Callable[..., T], *args: Any) -> T:
        return self.thread.submit(function, *args).result()

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


def divide(nodes: Sequence[tuple[int, float]], jobs: int | None, gpus: float) -> tuple[int, int]:
    """(runs at once, processors of each) on nodes of so many (processors, GPUs), where a run takes `gpus` of one.

    As many runs as fit if `jobs` is None, one a processor or one a share of a GPU; each then gets what processors there are.

    >>> divide([(8, 0), (4, 0)], jobs=3, gpus=0), divide([(16, 2), (8, 0)], jobs=None, gpus=0.5)
    ((3, 4), (4, 4))
    """

    def room(cpus: int) -> int:
        return sum(min(has // cpus, int(own) * int(1 / gpus) if gpus else has) for has, own in nodes)

    jobs = jobs or max(1, room(1))
    most = max((has for has, _ in nodes), default=1)
    return jobs, next((cpus for cpus in range(most, 1, -1) if room(cpus) >= jobs), 1)


def _join() -> None:
    if ADDRESS.startswith("ray://"):
        raise UserError("RAY_ADDRESS: a study is started on a machine of the cluster; take <head>:6379, not ray://")
    host, _, port = ADDRESS.rpartition(":")
    try:
        if host and port.isdigit():
            socket.create_connection((host.strip("[]"), int(port)), timeout=20).close()  # Ray would wait for minutes
        ray.init(ADDRESS or "local", log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"RAY_ADDRESS={ADDRESS}: no Ray cluster can be joined there ({reason})") from None


def _refuse_local_store(hosts: set[str]) -> None:
    others = sorted(hosts - {socket.gethostname()})
    if others and not tracking.shared():
        raise UserError(
            f"the cluster has other machines ({', '.join(others[:3])}) that cannot write to {tracking.store()}; set "
            "MLFLOW_TRACKING_URI to an MLflow server that all of them reach"
        )


def _gpus(wanted: float | None, there: Sequence[float]) -> float:
    if wanted and not any(there):
        raise UserError(f"GPUS={wanted:g}: the cluster has no GPU")
    return wanted or float(any(there))


def _variables() -> dict[str, str]:
    """What our code and MLflow read from the environment."""
    return {k: v for k, v in os.environ.items() if k.startswith("MLFLOW_") or k == parts.ENVIRONMENT}


def _on(node_id: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node_id, soft=False)


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


def _prepare(nodes: Sequence[Mapping[str, Any]], place: Place) -> None:
    """Runs on these nodes whose process is gone become KILLED. A UserError where a node cannot run cells as this one does."""
    checks = [_check.options(scheduling_strategy=_on(node["NodeID"])).remote(place) for node in nodes]
    for node, check in zip(nodes, checks, strict=True):
        try:
            code = ray.get(check)
        except exceptions.RayError as error:
            reason = str(getattr(error, "cause", error)).strip().split("\n")[-1]
            raise UserError(
                f"node {node['NodeManagerAddress']} cannot run cells ({reason}); each node needs emotion_lightning "
                f"installed, the folder {place.folder} and the store {tracking.store()}"
            ) from None
        if code != _code():
            raise UserError(f"node {node['NodeManagerAddress']} has another version of emotion_lightning installed")


def _code() -> str:
    """A digest of the package's source."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@ray.remote(num_cpus=0, max_retries=0)
def _check(place: Place) -> str:
    place.enter()
    tracking.sweep(tracking.connect())
    return _code()


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
    except tracking.Killed:
        return News("died", text="its process was told to end")
