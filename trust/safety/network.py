"""Whom the programs talk to: every look-up of a name and every connection of Python, and the addresses that servers listen on.

Each command runs with an audit hook of Python, also in the processes that it starts. The hook writes down and refuses all but
this machine's own addresses. Sockets that a library opens in C do not pass the hook, so listening ones are read from the system.
"""

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from benchmarks.timing import REPOSITORY
from trust import experiments
from trust.processes import free_port
from trust.safety.scene import NETWORK, SMALL, Scene

HOOK = """
import os, socket, sys

OWN = {"", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::", socket.gethostname()}


def hook(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host or ""
    if host not in OWN and not host.startswith("127."):
        with open(os.environ["TRUST_NETWORK_LOG"], "a") as log:
            log.write(f"{event} {host}\\n")
        raise OSError(f"the network is refused: {host}")


sys.addaudithook(hook)
"""
SERVERS: dict[str, tuple[str, ...]] = {"serve": ("/ping",), "app": ("/",), "ui": ("/health",)}


class Watched:
    """Runs commands in the scene's folder whose network is watched."""

    def __init__(self, scene: Scene):
        self.scene, self.folder = scene, scene.folder.parent / "watched"
        self.folder.mkdir(exist_ok=True)
        (self.folder / "sitecustomize.py").write_text(HOOK)

    def start(self, words: tuple[str, ...], log: Path, code: str = "") -> subprocess.Popen[bytes]:
        """Starts `emotion-lightning WORDS`, or Python code instead; what it asks of the network is in `log`."""
        names = ("MLFLOW_", "EMOTION_", "GRADIO_", "RAY_", "HF_", "DO_NOT")
        inherited = {
            k: v for k, v in os.environ.items() if not k.startswith(names) and not k.lower().endswith("_proxy")
        }
        path = os.pathsep.join([str(self.folder), str(REPOSITORY)])
        environment = {**inherited, "PYTHONPATH": path, "TRUST_NETWORK_LOG": str(log)}
        command = [sys.executable, *(("-c", code) if code else ("-m", "emotion_lightning", *words))]
        with (self.folder / "printed").open("wb") as out:
            return subprocess.Popen(
                command, cwd=self.scene.folder, env=environment, stdout=out, stderr=subprocess.STDOUT
            )

    def outcome(self, words: tuple[str, ...], code: str = "") -> str:
        """Runs a command to its end; returns whom it wanted to reach, or why it failed."""
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        status = self.start(words, log, code).wait(600)
        if log.exists():
            return f"{words[0]}: {log.read_text().splitlines()[0]}"
        return f"{words[0]}: status {status}: {self.printed()[-300:]}" if status else ""

    def printed(self) -> str:
        return (self.folder / "printed").read_text(errors="replace")

    def served(self, words: tuple[str, ...], page: str) -> str:
        """Starts a server, asks for a page, and ends it; returns whom it wanted to reach, or who can reach it."""
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        with self._up(words, page, log) as (answered, addresses):
            pass
        if log.exists():
            return f"{words[0]}: {log.read_text().splitlines()[0]}"
        if foreign := addresses - {"127.0.0.1", "::1"}:
            return f"{words[0]}: listens on {', '.join(sorted(foreign))}"
        return "" if answered else f"{words[0]}: no answer: {self.printed()[-300:]}"

    @contextmanager
    def _up(self, words: tuple[str, ...], page: str, log: Path) -> Iterator[tuple[bool, set[str]]]:
        port = free_port()
        server = self.start((*words, "--port", str(port)), log)
        try:
            answered = _answers(server, f"http://127.0.0.1:{port}{page}")
            time.sleep(2)  # a report of use would come after the start
            yield answered, listening(server.pid)
        finally:
            _end(server)


def listening(pid: int) -> set[str]:
    """Returns the addresses that a process and those that it has started listen on."""
    found = set()
    for process in (parent := psutil.Process(pid), *parent.children(recursive=True)):
        with suppress(psutil.Error):
            found |= {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    return found


def _answers(server: subprocess.Popen[bytes], address: str, seconds: float = 300) -> bool:
    open_ = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    end = time.monotonic() + seconds
    while server.poll() is None and time.monotonic() < end:
        with suppress(OSError), open_(address, timeout=5) as answer:
            return bool(answer.status == 200)
        time.sleep(0.3)
    return False


def _end(server: subprocess.Popen[bytes]) -> None:
    children = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
    server.terminate()
    try:
        server.wait(20)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
    for child in children:
        with suppress(psutil.Error):
            child.kill()


def attempts(scene: Scene) -> Iterator[tuple[str, str]]:
    """Yields each command with what is wrong with its use of the network."""
    watched, network = Watched(scene), scene.runs["demo_small_cnn"]
    commands: list[tuple[str, ...]] = [
        ("experiments",),
        ("train", "demo_svm", *SMALL, "seed=7"),
        ("train", "demo_small_cnn", *NETWORK, "seed=7"),
        ("study", "little", "--jobs", "2"),
        ("report", "little"),
        ("tune", "demo_svm", *SMALL, "--trials", "2", "--inner", "2"),
        ("predict", scene.sound, "--run", network),
        ("explain", network, "--audio", scene.sound),
        ("export", "--run", network),
        ("weights",),
        ("prune", "--older", "0d"),
    ]
    experiments.write(scene.folder, experiments.LITTLE)
    for words in commands:
        yield words[0], watched.outcome(words)
    for name, (page, *_) in SERVERS.items():
        words = (name,) if name == "ui" else (name, "--run", network)
        yield name, watched.served(words, page)
    for name in ("serve", "app"):
        yield (
            f"{name} --host 0.0.0.0",
            _says_so(watched, (name, "--run", network, "--host", "0.0.0.0"), SERVERS[name][0]),
        )


def control(scene: Scene) -> str:
    """Returns "" where the watch notices a connection that is not of ours, made in a process that was started by another."""
    inner = "import socket; socket.getaddrinfo('example.org', 80)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    seen = Watched(scene).outcome(("control",), code)
    return "" if "example.org" in seen else f"the watch is blind: {seen}"


def _says_so(watched: Watched, words: tuple[str, ...], page: str) -> str:
    with watched._up(words, page, watched.folder / "log") as (_, addresses):
        printed = " ".join(watched.printed().split())
    if addresses != {"0.0.0.0"}:
        return f"{words[0]}: listens on {', '.join(sorted(addresses))}"
    return (
        ""
        if "HOST=0.0.0.0" in printed and "everyone who can reach this machine" in printed
        else f"{words[0]}: says nothing"
    )
