"""Describes where a run was computed: processor, system, process, git commit, installed packages."""

import functools
import os
import platform
import socket
import subprocess
from collections.abc import Iterable
from importlib.metadata import distributions, version
from pathlib import Path

import psutil


def machine_tags(device: str) -> dict[str, str]:
    """Returns the tags machine/cores, cpu, device and system."""
    return {
        "machine/cores": str(cores()),
        "machine/cpu": _cpu(),
        "machine/device": device,
        "machine/system": platform.platform(),
    }


def cores() -> int:
    """Returns the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor()


def commit_tags() -> dict[str, str]:
    """Returns the git commit of the source, and whether files other than *.md differ from it. Empty outside a checkout."""

    def git(*words: str) -> str:
        try:
            return subprocess.run(
                ["git", *words], capture_output=True, text=True, timeout=10, cwd=Path(__file__).parent
            ).stdout.strip()
        except (OSError, subprocess.TimeoutExpired):
            return ""

    revision = git("rev-parse", "HEAD")
    dirty = bool(git("status", "--porcelain", "--untracked-files=no", ":(top)", ":(top,exclude)*.md"))
    return {"mlflow.source.git.commit": revision, "git/dirty": str(dirty)} if revision else {}


def process_tags() -> dict[str, str]:
    """Returns the tags machine/host and machine/process, which identify this process."""
    return {"machine/host": socket.gethostname(), "machine/process": f"{os.getpid()} {_start_of(os.getpid())}"}


def is_alive(process: str) -> bool:
    """Returns whether a process of this machine still runs. It is named by "pid start", because pids are reused.

    A process that has ended stays in Linux's list until its parent asks for its status, in some containers for ever.
    """
    try:
        pid, start = process.split()
        if psutil.Process(int(pid)).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return False
        if start.isdigit():  # s since 1970, of earlier versions and other systems than Linux
            return abs(psutil.Process(int(pid)).create_time() - int(start)) < 2
        return start == _start_of(int(pid))
    except (ValueError, OSError, psutil.Error):
        return False


def _start_of(pid: int) -> str:
    """Names the start of a process by "boot:ticks": a change of the clock moves what Linux says of its time of day."""
    stat, boot = Path(f"/proc/{pid}/stat"), Path("/proc/sys/kernel/random/boot_id")
    if not boot.exists():
        return str(int(psutil.Process(pid).create_time()))
    ticks = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]  # field 22, proc(5)
    return f"{boot.read_text().strip()}:{ticks}"


@functools.cache
def installed_packages() -> str:
    """Returns all installed packages with their versions, one on each line, like `pip freeze`."""
    versions = {metadata["Name"]: metadata["Version"] for d in distributions() if (metadata := d.metadata)["Name"]}
    return "\n".join(
        f"{name}=={version}" for name, version in sorted(versions.items(), key=lambda item: item[0].lower())
    )


def model_requirements(additional: Iterable[str] = ()) -> list[str]:
    """Returns the packages that a logged model needs when it is loaded elsewhere. Our own code is stored with the model."""
    names = (
        "torch",
        "torchaudio",
        "torchmetrics",
        "lightning",
        "timm",
        "scikit-learn",
        "scipy",
        "skops",
        "pandas",
        "matplotlib",
        "pydantic",
        "pyyaml",
        "soundfile",
        "soxr",
        "filelock",
        "numpy",
    )
    return [f"{name}=={version(name)}" for name in (*names, *additional)]
