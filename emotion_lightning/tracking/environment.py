"""What a figure was computed on and with: processor, system, process, git commit, installed packages."""

import os
import platform
import socket
import subprocess
from importlib.metadata import distributions, version
from pathlib import Path

import psutil


def tags(device: str) -> dict[str, str]:
    """Tags that say what a figure was computed on."""
    return {
        "machine/cores": str(cores()),
        "machine/cpu": _cpu(),
        "machine/device": device,
        "machine/system": platform.platform(),
    }


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    names = (
        [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
        if info.exists()
        else []
    )
    return names[0] if names else platform.processor()


def commit() -> dict[str, str]:
    """The source's git commit, with a mark where more than documents differ from it; empty outside a checkout."""

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


def process() -> dict[str, str]:
    """Tags that name this process on this machine."""
    started = int(psutil.Process().create_time())
    return {"machine/host": socket.gethostname(), "machine/process": f"{os.getpid()} {started}"}


def alive(process: str) -> bool:
    """Whether a process of this machine still runs, by its "pid start-second", since pids are given out again."""
    try:
        pid, started = (int(part) for part in process.split())
        return abs(psutil.Process(pid).create_time() - started) < 2
    except (ValueError, psutil.Error):
        return False


def environment() -> str:
    """Every installed distribution with its version, one a line, as pip freeze has them."""
    found = {about["Name"]: about["Version"] for d in distributions() if (about := d.metadata)["Name"]}
    return "\n".join(
        f"{name}=={version}" for name, version in sorted(found.items(), key=lambda item: item[0].lower())
    )


def requirements() -> list[str]:
    """What a kept model needs to be loaded elsewhere; our own code travels with it."""
    names = (
        "torch",
        "torchaudio",
        "torchmetrics",
        "lightning",
        "timm",
        "scikit-learn",
        "matplotlib",
        "pydantic",
        "pyyaml",
        "soundfile",
        "soxr",
        "filelock",
        "numpy",
    )
    return [f"{name}=={version(name)}" for name in names]
