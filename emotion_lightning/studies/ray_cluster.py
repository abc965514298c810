"""The Ray cluster that a study runs on: joins or starts it, divides its processors and GPUs, and checks its nodes.

The cluster is that of RAY_ADDRESS. Without it, Ray is started on this machine alone, for this study.
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

CHECK_SECONDS = 300  # time for a node to start a process, import MLflow and reach the store


@dataclass(frozen=True)
class TaskEnvironment:
    """What every task works with: folder and environment variables of the study's process, and the threads of a run."""

    folder: str
    variables: Mapping[str, str]
    threads: int

    def enter(self) -> None:
        """Changes this process to the folder and the variables.

        Raises: OSError where the folder is missing.
        """
        os.chdir(self.folder)
        os.environ.update(self.variables)


def task_environment(threads: int) -> TaskEnvironment:
    """Returns the environment of this process, with the variables that our code and MLflow read."""
    variables = {k: v for k, v in os.environ.items() if k.startswith("MLFLOW_") or k == parts.ENVIRONMENT}
    return TaskEnvironment(str(Path.cwd()), variables, threads)


def join() -> list[dict[str, Any]]:
    """Joins the cluster or starts one; returns its living nodes, as Ray describes them.

    Raises: UserError where the cluster cannot be joined, or other machines cannot write to the MLflow store.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    if address.startswith("ray://"):
        raise UserError("RAY_ADDRESS: start the study on a machine of the cluster, with <head>:6379 and not ray://")
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdigit():
            socket.create_connection((host.strip("[]"), int(port)), timeout=20).close()  # Ray would wait for minutes
        ray.init(address or "local", log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        fault = f"RAY_ADDRESS={address}: no Ray cluster can be joined there" if address else "Ray cannot be started"
        raise UserError(f"{fault} ({reason})") from None
    alive = [node for node in ray.nodes() if node["Alive"]]
    refuse_local_store({node["NodeManagerHostname"] for node in alive})
    return alive


def refuse_local_store(hosts: set[str]) -> None:
    """Raises UserError where a host other than this one cannot write to the MLflow store."""
    others = sorted(hosts - {socket.gethostname()})
    if others and not store.shared():
        raise UserError(
            f"the cluster has other machines ({', '.join(others[:3])}) that cannot write to {store.shown_uri()}; set "
            "MLFLOW_TRACKING_URI to an MLflow server that all of them reach"
        )


def size(node: Mapping[str, Any]) -> tuple[int, float]:
    """Returns (processors, GPUs) of a node."""
    return int(node["Resources"].get("CPU", 0)), node["Resources"].get("GPU", 0.0)


def gpus_per_run(wanted: float | None, gpus: Sequence[float]) -> float:
    """Returns the GPU share of a run on nodes with so many GPUs: `wanted`, else 1, and 0 on a cluster without GPUs.

    Raises: UserError where a share is wanted and no node has a GPU.
    """
    if wanted and not any(gpus):
        raise UserError(f"GPUS={wanted:g}: the cluster has no GPU")
    return wanted or float(any(gpus))


def divide(nodes: Sequence[tuple[int, float]], jobs: int | None, gpus: float) -> tuple[int, int]:
    """Returns (runs at once, processors of each) on nodes with so many (processors, GPUs); a run takes `gpus` of a GPU.

    If `jobs` is None, as many runs as fit: one for each processor or share of a GPU. The processors are then divided among them.

    >>> divide([(8, 0), (4, 0)], jobs=3, gpus=0), divide([(16, 2), (8, 0)], jobs=None, gpus=0.5)
    ((3, 4), (4, 4))
    """

    def room(cpus: int) -> int:
        return sum(min(own // cpus, int(own_gpus) * int(1 / gpus) if gpus else own) for own, own_gpus in nodes)

    jobs = jobs or max(1, room(1))
    most = max((own for own, _ in nodes), default=1)
    return jobs, next((cpus for cpus in range(most, 1, -1) if room(cpus) >= jobs), 1)


def pinned_to(node_id: str) -> NodeAffinitySchedulingStrategy:
    """Returns the option that makes a task run on this node only."""
    return NodeAffinitySchedulingStrategy(node_id, soft=False)


def prepare(nodes: Sequence[Mapping[str, Any]], environment: TaskEnvironment) -> None:
    """Checks that these nodes can run cells, and marks their runs without a process as KILLED.

    Raises: UserError where a node lacks the folder, the package in this version, or the store.
    """
    checks = [_check.options(scheduling_strategy=pinned_to(node["NodeID"])).remote(environment) for node in nodes]
    for node, check in zip(nodes, checks, strict=True):
        try:
            code = ray.get(check, timeout=CHECK_SECONDS)
        except (TaskUnschedulableError, NodeDiedError):
            continue  # for some seconds, Ray lists a dead node as alive
        except RayError as error:
            reason = str(getattr(error, "cause", error)).strip().split("\n")[-1]
            raise UserError(
                f"node {node['NodeManagerAddress']} cannot run cells ({reason}); each node needs emotion_lightning "
                f"installed, the folder {environment.folder} and the store {store.shown_uri()}"
            ) from None
        if code != _code_digest():
            raise UserError(f"node {node['NodeManagerAddress']} has another version of emotion_lightning installed")


def _code_digest() -> str:
    """Returns a digest of the package's source."""
    files = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


@ray.remote(num_cpus=0, max_retries=0)
def _check(environment: TaskEnvironment) -> str:
    environment.enter()
    tracking.sweep(store.connect())
    return _code_digest()
