"""The Ray cluster that a study runs on: joined, or started on this machine; measured, and its nodes seen to be fit.

The cluster is that of RAY_ADDRESS; without one, Ray is started on this machine alone, for this study.
"""

import hashlib
import logging
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import NodeDiedError, RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from emotion_lightning.config import parts
from emotion_lightning.errors import UserError
from emotion_lightning.tracking import run as tracking
from emotion_lightning.tracking import store

CHECK_SECONDS = 300  # for a node to start a process, import MLflow and reach the store


@dataclass(frozen=True)
class Place:
    """What every task works with: folder and variables of the study's own process, and the threads of a run."""

    folder: str
    variables: Mapping[str, str]
    threads: int

    def enter(self) -> None:
        os.chdir(self.folder)
        os.environ.update(self.variables)


def place(threads: int) -> Place:
    """The study's own, with what our code and MLflow read from the environment."""
    read = {k: v for k, v in os.environ.items() if k.startswith("MLFLOW_") or k == parts.ENVIRONMENT}
    return Place(str(Path.cwd()), read, threads)


def join() -> list[dict[str, Any]]:
    """Joins the cluster or starts one; its living nodes, as Ray describes them. A UserError where they cannot be used."""
    address = os.environ.get("RAY_ADDRESS", "")
    if address.startswith("ray://"):
        raise UserError("RAY_ADDRESS: a study is started on a machine of the cluster; take <head>:6379, not ray://")
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdigit():
            socket.create_connection((host.strip("[]"), int(port)), timeout=20).close()  # Ray would wait for minutes
        ray.init(address or "local", log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        what = f"RAY_ADDRESS={address}: no Ray cluster can be joined there" if address else "Ray cannot be started"
        raise UserError(f"{what} ({reason})") from None
    alive = [node for node in ray.nodes() if node["Alive"]]
    refuse_local_store({node["NodeManagerHostname"] for node in alive})
    return alive


def refuse_local_store(hosts: set[str]) -> None:
    """A store that only this machine has is no place for the runs of other hosts."""
    others = sorted(hosts - {socket.gethostname()})
    if others and not store.shared():
        raise UserError(
            f"the cluster has other machines ({', '.join(others[:3])}) that cannot write to {store.uri()}; set "
            "MLFLOW_TRACKING_URI to an MLflow server that all of them reach"
        )


def size(node: Mapping[str, Any]) -> tuple[int, float]:
    """(processors, GPUs) of a node."""
    return int(node["Resources"].get("CPU", 0)), node["Resources"].get("GPU", 0.0)


def gpus_of_a_run(wanted: float | None, there: Sequence[float]) -> float:
    """A whole one unless another share is wanted; 0 on a cluster without, whose nodes have `there`."""
    if wanted and not any(there):
        raise UserError(f"GPUS={wanted:g}: the cluster has no GPU")
    return wanted or float(any(there))


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


def on(node_id: str) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def prepare(nodes: Sequence[Mapping[str, Any]], place: Place) -> None:
    """Runs on these nodes whose process is gone become KILLED. A UserError where a node cannot run cells as this one does."""
    checks = [_check.options(scheduling_strategy=on(node["NodeID"])).remote(place) for node in nodes]
    for node, check in zip(nodes, checks, strict=True):
        try:
            code = ray.get(check, timeout=CHECK_SECONDS)
        except (TaskUnschedulableError, NodeDiedError):
            continue  # it is gone; a node that has died is listed as alive for some seconds
        except RayError as error:
            reason = str(getattr(error, "cause", error)).strip().split("\n")[-1]
            raise UserError(
                f"node {node['NodeManagerAddress']} cannot run cells ({reason}); each node needs emotion_lightning "
                f"installed, the folder {place.folder} and the store {store.uri()}"
            ) from None
        if code != _code():
            raise UserError(f"node {node['NodeManagerAddress']} has another version of emotion_lightning installed")


def _code() -> str:
    """A digest of the package's source."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@ray.remote(num_cpus=0, max_retries=0)
def _check(place: Place) -> str:
    place.enter()
    tracking.sweep(store.connect())
    return _code()
