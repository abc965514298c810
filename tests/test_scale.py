"""One run on several processes, as torchrun, SLURM and Lightning start them: the figures of one process, one run in MLflow,
and an end in time when a process is stopped or lost. Everything stays on this machine: machines are loopback addresses."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from processes import finished, has_checkpoint, runs, start, start_interpreter, until
from test_train_processes import figures_of, write_small

pytestmark = pytest.mark.slow

PLAIN = {  # without batch norm, dropout and augmentation, the two halves of a batch give the gradient of the whole
    "model": "{name: small_cnn, width: 8, norm: group, dropout: 0.0}",
    "augment.mixup": "off",
    "augment.image_transforms": "off",
    "fit.precision": "32",
    "fit.accelerator": "cpu",
}
THIRTY = {**PLAIN, "fit.stages.large.epochs": "30"}
LONG = {**PLAIN, "fit.stages.large.epochs": "500"}

ONE_CORE = {"OMP_NUM_THREADS": "1"}  # each process, however it is started: more change the last digits


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def torchrun(*options: str) -> tuple[str, ...]:
    return ("-m", "torch.distributed.run", "--master-addr=127.0.0.1", *options)


def by_torchrun(folder: Path, *words: str) -> list[subprocess.Popen[str]]:
    launcher = torchrun(f"--master-port={free_port()}", "--nproc-per-node=2")
    return [start_interpreter(folder, *words, launcher=launcher, **ONE_CORE)]


def by_two_torchruns(folder: Path, *words: str, second: Path | None = None) -> list[subprocess.Popen[str]]:
    """Two machines of one process each: 127.0.0.1 and 127.0.0.2."""
    common = (f"--master-port={free_port()}", "--nnodes=2", "--nproc-per-node=1")
    other = torchrun(*common, "--node-rank=1", "--local-addr=127.0.0.2")
    return [
        start_interpreter(folder, *words, launcher=torchrun(*common, "--node-rank=0"), **ONE_CORE),
        start_interpreter(second or folder, *words, launcher=other, **ONE_CORE),
    ]


def by_srun(folder: Path, *words: str) -> list[subprocess.Popen[str]]:
    """Two machines of one process each, with the variables that srun of SLURM 22.05 was seen to set."""
    variables = {
        **ONE_CORE,
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NAME": "emotion",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_NNODES": "2",
        "SLURM_NODELIST": "n[1-2]",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_LOCALID": "0",
        "MASTER_ADDR": "127.0.0.1",  # there is no machine n1
        "MASTER_PORT": str(free_port()),
    }
    return [
        start_interpreter(folder, *words, **variables, SLURM_PROCID=rank, SLURM_NODEID=rank) for rank in ("0", "1")
    ]


def by_lightning(folder: Path, *words: str) -> list[subprocess.Popen[str]]:
    return [start_interpreter(folder, *words, "fit.devices=2", **ONE_CORE)]


def gone(process: psutil.Process) -> bool:
    """Whether it has ended, also where nobody has taken note of that yet, or does so while we look."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture(scope="module")
def figures_of_one_process(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("one")
    finished(start(folder, "train", write_small(folder, demo_data, **PLAIN)))
    return figures_of(folder)


@pytest.mark.parametrize("started", [by_lightning, by_torchrun, by_two_torchruns, by_srun])
def test_two_processes_leave_one_run_and_the_figures_of_one(
    tmp_path: Path, demo_data: Path, figures_of_one_process: dict[str, float], started
) -> None:
    for process in started(tmp_path, "train", write_small(tmp_path, demo_data, **PLAIN)):
        finished(process)
    (run,) = runs(tmp_path)
    assert (run.info.status, run.data.tags["machine/devices"]) == ("FINISHED", "2")
    figures = figures_of(tmp_path)
    assert figures.keys() == figures_of_one_process.keys()
    for name in ("test/accuracy", "test/uar", "test/f1", "best/epoch"):
        assert figures[name] == figures_of_one_process[name]
    for name in ("test/loss", "loss/train", "loss/val", "loss/optimised"):
        assert figures[name] == pytest.approx(figures_of_one_process[name], rel=1e-3)


def test_a_second_machine_needs_no_store_of_its_own(tmp_path: Path, demo_data: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
        name = write_small(folder, demo_data, store=folder == first, **PLAIN)
    for process in by_two_torchruns(first, "train", name, second=second):
        finished(process)
    assert [run.info.status for run in runs(first)] == ["FINISHED"]
    assert [file.name for file in second.iterdir()] == [name]


def test_machines_with_different_settings_are_refused(tmp_path: Path, demo_data: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, seed in ((first, "0"), (second, "1")):
        folder.mkdir()
        name = write_small(folder, demo_data, store=folder == first, seed=seed, **PLAIN)
    for process in by_two_torchruns(first, "train", name, second=second):
        assert "rank 1 on" in (said := finished(process, 1)) and "differ in: settings" in said
    (run,) = runs(first)
    assert run.info.status in ("FAILED", "KILLED")


@pytest.mark.parametrize("started", [by_lightning, by_torchrun])
def test_the_others_end_within_a_minute_of_a_rank_that_dies(tmp_path: Path, demo_data: Path, started) -> None:
    (process,) = started(tmp_path, "train", write_small(tmp_path, demo_data, **LONG))
    until(lambda: has_checkpoint(tmp_path), process)
    ranks = [p for p in psutil.Process(process.pid).children() if p.environ().get("LOCAL_RANK")]
    ranks[-1].kill()
    out, err = process.communicate(timeout=60)
    assert process.returncode
    (run,) = runs(tmp_path)
    # Rank zero notices the loss at its next collective and fails, unless the launcher's SIGTERM reaches it before that.
    # torchrun sends it within a tenth of a second, Lightning within five seconds, so either may be first.
    message = {"FAILED": "another process of this run was lost", "KILLED": f"RESUME={run.info.run_id[:8]}"}
    assert message[run.info.status] in out + err
    assert all(gone(rank) for rank in ranks)


@pytest.fixture(scope="module")
def figures_of_thirty_epochs(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> dict[str, float]:
    """On two processes that nobody stopped."""
    folder = tmp_path_factory.mktemp("unbroken")
    for process in by_torchrun(folder, "train", write_small(folder, demo_data, **THIRTY)):
        finished(process)
    return figures_of(folder)


@pytest.mark.parametrize("started", [by_lightning, by_torchrun, by_srun])
def test_terminated_ranks_leave_a_killed_run_that_goes_on_to_the_figures_of_an_unbroken_one(
    tmp_path: Path, demo_data: Path, figures_of_thirty_epochs: dict[str, float], started
) -> None:
    name = write_small(tmp_path, demo_data, **THIRTY)
    processes = started(tmp_path, "train", name)
    until(lambda: has_checkpoint(tmp_path), processes[0])
    for process in processes:  # SLURM and torchrun tell every rank
        process.send_signal(signal.SIGTERM)
    said = "".join("".join(process.communicate(timeout=120)) for process in processes)
    (run,) = runs(tmp_path)
    assert run.info.status == "KILLED"
    assert f"RESUME={run.info.run_id[:8]}" in said
    for process in started(tmp_path, "train", name, "--resume", run.info.run_id[:8]):
        finished(process)
    assert figures_of(tmp_path) == figures_of_thirty_epochs


def test_ranks_that_lightning_started_end_with_rank_zero(tmp_path: Path, demo_data: Path) -> None:
    (process,) = by_lightning(tmp_path, "train", write_small(tmp_path, demo_data, **LONG))
    until(lambda: has_checkpoint(tmp_path), process)
    (other,) = (p for p in psutil.Process(process.pid).children() if p.environ().get("LOCAL_RANK"))
    os.kill(process.pid, signal.SIGKILL)
    end = time.monotonic() + 30
    while not gone(other):
        assert time.monotonic() < end
        time.sleep(0.1)
    process.communicate()
