"""Studies on a Ray cluster of two nodes, which have addresses of their own on this machine: one of them is killed."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
from processes import REPOSITORY, finished, has_checkpoint, runs, start, start_interpreter, until
from test_run_study import STUDY, prepared, statuses, table

from emotion_lightning.errors import UserError

pytest.importorskip("ray", reason="Ray is not installed: pip install 'emotion-lightning[cluster]'")

from emotion_lightning.studies import ray_cluster

LONG = {**STUDY, "arms": {"tiny_svm": None, "tiny_cnn": {"set": {"fit.stages.main.epochs": 40}}}}
PATIENCE = 600  # seconds: two nodes and their processes start on one machine, and each imports torch
ENDLESS = {**STUDY, "arms": {"tiny_cnn": {"set": {"fit.stages.main.epochs": 2000}}}}


@dataclass
class Nodes:
    """Nodes of one processor each, by their addresses; the first is the head."""

    folder: str
    port: int
    started: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def start(self, address: str, package: Path = REPOSITORY) -> None:
        which = ["--address", f"127.0.0.2:{self.port}"]
        if not self.started:
            which = ["--head", "--port", str(self.port), "--temp-dir", self.folder, "--include-dashboard", "false"]
        options = ["--node-ip-address", address, "--num-cpus", "1", "--object-store-memory", "100000000", "--block"]
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *which, *options]
        said = Path(self.folder) / f"{address}.txt"
        with said.open("w") as out:
            process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(package)}, stdout=out, text=True)
        self.started[address] = process
        until(lambda: "Ray runtime started" in said.read_text(), process, PATIENCE)

    def processes(self, address: str) -> list[psutil.Process]:
        own = psutil.Process(self.started[address].pid)
        return [own, *own.children(recursive=True)]

    def kill(self, address: str) -> None:
        """As a power cut would."""
        for process in self.processes(address):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.started.pop(address).wait()


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run, in every engine, whatever the machine has; and no token is left in the home folder."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def cluster(one_thread: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    with socket.socket() as free:
        free.bind(("127.0.0.2", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # short: Ray's sockets lie there
        nodes = Nodes(folder, port)
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.2:{port}")
        try:
            nodes.start("127.0.0.2")
            nodes.start("127.0.0.3")
            yield nodes
        finally:
            for address in list(nodes.started):
                nodes.kill(address)


def on_node(nodes: Nodes, address: str, folder: Path) -> list[str]:
    """Ids of runs that are RUNNING in a process of that node and have finished an epoch."""
    if not (folder / "mlruns" / ".ready").exists():
        return []
    pids = {str(process.pid) for process in nodes.processes(address)}
    return [
        run.info.run_id
        for run in runs(folder)
        if run.info.status == "RUNNING"
        and run.data.tags["machine/process"].split()[0] in pids
        and (folder / "mlruns" / "checkpoints" / run.info.run_id / "last.ckpt").exists()
    ]


@pytest.mark.slow
def test_a_study_whose_node_is_killed_ends_with_the_table_of_one_on_processes(
    cluster: Nodes, tmp_path: Path, demo_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, folder = (prepared(tmp_path / name, demo_data, LONG) for name in ("local", "cluster"))
    process = start_interpreter(folder, "study", "tiny", "--engine", "ray")
    until(lambda: on_node(cluster, "127.0.0.3", folder), process, PATIENCE)
    (killed,) = on_node(cluster, "127.0.0.3", folder)
    cluster.kill("127.0.0.3")
    said = finished(process)
    assert "6 of 6 runs to do, 2 at once" in said and "its process died (with its node), started again" in said
    assert "(raylet)" not in said and "Traceback" not in said
    assert statuses(folder) == {"FINISHED": 6}  # the killed one went on from its checkpoint, which both nodes have
    found = {run.info.run_id: run.data.tags["signature"] for run in runs(folder)}
    assert killed in found and len(set(found.values())) == 6
    finished(start(local, "study", "tiny", "--jobs", "2"))
    assert table(folder) == table(local)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.2:1")  # a study that is complete needs no cluster
    finished(start_interpreter(folder, "study", "tiny", "--engine", "ray"))
    assert {run.info.run_id for run in runs(folder)} == found.keys()


@pytest.mark.slow
def test_a_study_killed_on_a_cluster_leaves_nothing_that_writes_and_goes_on_there(
    cluster: Nodes, tmp_path: Path, demo_data: Path
) -> None:
    folder = prepared(tmp_path, demo_data, {**LONG, "protocols": {"paper_random": None}})
    process = start_interpreter(folder, "study", "tiny", "--engine", "ray", "--jobs", "1")
    until(lambda: has_checkpoint(folder), process, PATIENCE)
    (worker,) = running(folder)
    left = psutil.Process(int(worker.split()[0]))
    process.kill()
    process.communicate()
    assert psutil.wait_procs([left], 60)[1] == []
    finished(start_interpreter(folder, "study", "tiny", "--engine", "ray", "--jobs", "1"))
    assert statuses(folder) == {"FINISHED": 2}


@pytest.mark.slow
def test_ctrl_c_ends_the_runs_as_killed_and_the_cluster_of_this_machine(
    one_thread: None, tmp_path: Path, demo_data: Path
) -> None:
    folder = prepared(tmp_path, demo_data, ENDLESS)
    process = start_interpreter(folder, "study", "tiny", "--engine", "ray", "--jobs", "2")
    until(lambda: len(list((folder / "mlruns" / "checkpoints").glob("*/last.ckpt"))) == 2, process, PATIENCE)
    children = psutil.Process(process.pid).children(recursive=True)
    assert {c.laddr.ip.removeprefix("::ffff:") for child in children for c in listening(child)} == {"127.0.0.1"}
    process.send_signal(signal.SIGINT)
    said = finished(process, 130)
    assert "study tiny was stopped; the same command continues it" in said and "Traceback" not in said
    assert statuses(folder) == {"KILLED": 2}
    assert psutil.wait_procs(children, 20)[1] == []


@pytest.mark.slow
def test_a_run_whose_process_dies_on_a_cluster_is_started_once_more_and_then_reported(
    cluster: Nodes, tmp_path: Path, demo_data: Path
) -> None:
    folder = prepared(tmp_path, demo_data, {**ENDLESS, "protocols": {"paper_random": None}})
    process = start_interpreter(folder, "study", "tiny", "--engine", "ray")
    seen: set[str] = set()
    for _ in range(2):
        until(lambda: running(folder) - seen, process, PATIENCE)
        (worker,) = running(folder) - seen
        seen.add(worker)
        psutil.Process(int(worker.split()[0])).kill()
    said = finished(process, 1)
    assert said.count("its process died (a signal; out of memory?), started again") == 1
    assert "1 run missing: its process died (a signal; out of memory?)" in said
    assert statuses(folder) == {"KILLED": 1}


def running(folder: Path) -> set[str]:
    """The processes with a RUNNING run, each as "pid second-of-start"."""
    if not (folder / "mlruns" / ".ready").exists():
        return set()
    return {run.data.tags["machine/process"] for run in runs(folder) if run.info.status == "RUNNING"}


def listening(process: psutil.Process) -> list:
    with suppress(psutil.Error):
        return [c for c in process.net_connections() if c.status == psutil.CONN_LISTEN and c.laddr]
    return []


@pytest.mark.slow
def test_a_node_with_other_code_is_refused_before_anything_is_run(
    cluster: Nodes, tmp_path: Path, demo_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.kill("127.0.0.3")
    shutil.copytree(REPOSITORY / "emotion_lightning", tmp_path / "other" / "emotion_lightning")
    (tmp_path / "other" / "emotion_lightning" / "data" / "access_log.py").open("a").write("# newer\n")
    cluster.start("127.0.0.4", tmp_path / "other")
    folder = prepared(tmp_path / "study", demo_data)
    said = finished(start_interpreter(folder, "study", "tiny", "--engine", "ray"), 2)
    assert "node 127.0.0.4 has another version of emotion_lightning installed" in said and "Traceback" not in said
    assert not runs(folder)


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_reported_in_one_line(
    one_thread: None, tmp_path: Path, demo_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = prepared(tmp_path, demo_data)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.2:1")
    said = finished(start_interpreter(folder, "study", "tiny", "--engine", "ray"), 2)
    assert (
        said.startswith("error: RAY_ADDRESS=127.0.0.2:1: no Ray cluster can be joined there")
        and said.count("\n") == 1
    )


@pytest.mark.parametrize(
    ("nodes", "jobs", "gpus", "at_once", "processors"),
    [
        ([(2, 0)], None, 0, 2, 1),  # as many as there are processors
        ([(8, 0), (4, 0)], 3, 0, 3, 4),
        ([(5, 0), (1, 0)], 2, 0, 2, 2),  # not 3: the second would fit nowhere
        ([(4, 0)], 9, 0, 9, 1),  # the rest waits
        ([(16, 2), (8, 0)], None, 1, 2, 8),  # one a GPU
        ([(16, 2), (8, 0)], None, 0.25, 8, 2),
        ([(16, 2)], None, 0.4, 4, 4),  # two a GPU: a run's share is of one
        ([(0, 0)], None, 0, 1, 1),  # a head alone, whose cluster grows by what waits
    ],
)
def test_a_cluster_is_divided_into_runs(
    nodes: list[tuple[int, float]], jobs: int | None, gpus: float, at_once: int, processors: int
) -> None:
    assert ray_cluster.divide(nodes, jobs, gpus) == (at_once, processors)


def test_a_store_of_this_machine_is_refused_where_the_cluster_has_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for local in ("", "sqlite:////shared/mlflow.db", "http://127.0.0.1:5000", "http://localhost:5000"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", local)
        with pytest.raises(UserError, match=r"other machines \(elsewhere\).*set MLFLOW_TRACKING_URI"):
            ray_cluster.refuse_local_store({socket.gethostname(), "elsewhere"})
        ray_cluster.refuse_local_store({socket.gethostname()})
    for server in ("http://mlflow.lab:5000", "postgresql://mlflow.lab/runs"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        ray_cluster.refuse_local_store({socket.gethostname(), "elsewhere"})


def test_gpus_are_asked_for_where_there_are_any() -> None:
    assert [ray_cluster.gpus_per_run(None, there) for there in ([0, 0], [0, 4])] == [0, 1]
    assert ray_cluster.gpus_per_run(0.25, [0, 4]) == 0.25
    with pytest.raises(UserError, match=r"GPUS=0\.25: the cluster has no GPU"):
        ray_cluster.gpus_per_run(0.25, [0, 0])
