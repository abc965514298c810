"""The served model under 64 concurrent clients for 60 s, with malformed, huge, slow and broken-off requests among them.

Each answer to a good request is compared with that of the model in this process. A hostile request must get the status that
docs/serving.md names for it. The server's memory, open files and stderr are watched from outside.
"""

import base64
import http.client
import json
import socket
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from emotion_lightning.serving import package
from emotion_lightning.serving.recogniser import Recogniser
from trust import hostile
from trust.commands import run, workplace
from trust.processes import OURS, environment, free_port
from trust.rows import Row, Setting

CLIENTS, SECONDS, MAX_MB, TIMEOUT = 64, 60, 2, 10
HOSTILE = 0.25  # share of the requests
BUSY = {503, 504}
TOLERANCE = 1e-5  # of a probability


@dataclass
class Tally:
    """What the clients saw. `latencies` are those of good requests, in seconds."""

    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    hostile: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass
class Watched:
    """What the server's process took, sampled twice a second."""

    process: psutil.Process
    megabytes: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def sample(self) -> None:
        with suppress(psutil.Error):
            self.megabytes.append(self.process.memory_info().rss / 2**20)
            self.files.append(self.process.num_fds())

    def thirds(self) -> list[float]:
        """Returns the median memory of each third of the time, in MB."""
        length = max(1, len(self.megabytes) // 3)
        return [statistics.median(self.megabytes[i * length : (i + 1) * length]) for i in range(3)]


def rows(setting: Setting) -> Iterator[Row]:
    folder, seconds = workplace(setting.work / "work"), SECONDS * setting.share
    trained = run(folder, "train", "net")
    assert trained.status == 0, trained
    model = package.read(next((folder / "mlruns").rglob(package.ABOUT)).parent)
    clips = sorted((folder / ".cache").rglob("demo-*/**/*.wav"))[:32]
    expected = _expected(model, clips)
    with _served(folder, model.about.run) as (port, server, log):
        tally, watched = Tally(), Watched(server)
        _one_client(port, expected, Random(setting.seed), Tally(), 4, share=0)  # warm up
        before = server.num_fds()
        ends = time.monotonic() + seconds

        def client(number: int) -> None:
            _one_client(port, expected, Random(setting.seed * 1000 + number), tally, ends - time.monotonic())

        with ThreadPoolExecutor(CLIENTS) as pool:
            futures = [pool.submit(client, number) for number in range(CLIENTS)]
            while not all(future.done() for future in futures):
                watched.sample()
                time.sleep(0.5)
        for future in futures:
            future.result()
        time.sleep(min(TIMEOUT, 2))
        yield from outcome(tally, watched, server.num_fds() - before, log)
        last = Tally()
        _one_client(port, expected, Random(setting.seed), last, 2, share=0)
        yield Row("good requests after the load", len(last.latencies), tuple(last.faults))


def outcome(tally: Tally, watched: Watched, files: int, log: Path) -> Iterator[Row]:
    cuts = statistics.quantiles([1000 * s for s in tally.latencies], n=100, method="inclusive")
    seen = f"p50 {cuts[49]:.0f} ms, p95 {cuts[94]:.0f} ms, p99 {cuts[98]:.0f} ms"
    busy = {status: count for status, count in tally.statuses.items() if status != 200}
    good = [fault for fault in tally.faults if fault.startswith("good")]
    yield Row(
        f"{CLIENTS} clients: answers to good requests",
        len(tally.latencies),
        tuple(good),
        f"{seen}; busy: {busy or 'never'}",
    )
    bad = [fault for fault in tally.faults if not fault.startswith("good")]
    kinds = len(tally.hostile)
    yield Row(f"hostile requests of {kinds} kinds", sum(tally.hostile.values()), tuple(bad))
    first, middle, last = watched.thirds()
    faults = [f"{middle:.0f} MB in the second third, {last:.0f} MB in the last"] if last > 1.1 * middle else []
    if files > 8:
        faults.append(f"{files} more open files than before")
    if "Traceback" in (said := log.read_text(encoding="utf-8", errors="replace")):
        faults.append(f"the server printed a traceback: {said[-300:]}")
    label, seen = "memory, open files and stderr of the server", f"{first:.0f}, {middle:.0f}, {last:.0f} MB"
    yield Row(label, len(watched.megabytes), tuple(faults), seen)


Expected = list[tuple[dict[str, str], dict[str, float]]]
"""A row of a request, and the probabilities that it must get."""


def _expected(model: Recogniser, clips: list[Path]) -> Expected:
    return [
        ({"audio": base64.b64encode(clip.read_bytes()).decode()}, model.file(clip).probabilities) for clip in clips
    ]


def _one_client(
    port: int, expected: Expected, chance: Random, tally: Tally, seconds: float, share: float = HOSTILE
) -> None:
    """Sends one request after another, on one connection while it lasts, for so many seconds."""
    end, connection = time.monotonic() + seconds, _connection(port)
    while time.monotonic() < end:
        if chance.random() < share:
            kind = chance.choice(list(hostile.KINDS))
            fault = hostile.sent(kind, port, chance, TIMEOUT, int(MAX_MB * 1e6))
            with tally.lock:
                tally.hostile[kind] += 1
                tally.faults += [f"{kind}: {fault}"] if fault else []
            connection = _connection(port)  # the server closes one that was idle for 5 s
            continue
        chosen = chance.choices(expected, k=chance.choice([1, 1, 1, 4]))
        began = time.monotonic()
        try:
            body = json.dumps({"dataframe_records": [row for row, _ in chosen]})
            connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            status, content = answer.status, json.loads(answer.read())
            fault = wrong(status, content, chosen)
        except (OSError, http.client.HTTPException, ValueError) as error:
            status, fault, connection = 0, f"{type(error).__name__}: {error}", _connection(port)
        with tally.lock:
            tally.statuses[status] += 1
            tally.latencies.append(time.monotonic() - began)
            tally.faults += [f"good request: {fault}"] if fault else []


def _connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=120)


def wrong(status: int, content: dict[str, object], chosen: Expected) -> str:
    """Returns what is wrong with the answer to a good request."""
    if status in BUSY:
        return "" if isinstance(content.get("error"), str) else f"{status} without a reason"
    if status != 200:
        return f"status {status}: {content}"
    answers = content["predictions"]
    assert isinstance(answers, list)
    if len(answers) != len(chosen):
        return f"{len(answers)} answers to {len(chosen)} rows"
    for answer, (_, wanted) in zip(answers, chosen, strict=True):
        if (largest := max(abs(answer[name] - value) for name, value in wanted.items())) > TOLERANCE:
            return f"a probability differs by {largest:g} from the model in process"
    return ""


@contextmanager
def _served(folder: Path, run_id: str) -> Iterator[tuple[int, psutil.Process, Path]]:
    """Serves the model of a run while the block runs; gives the port, the process and the file of its output."""
    port = free_port()
    words = ["serve", "--run", run_id, "--port", str(port), "--max-mb", str(MAX_MB), "--timeout", str(TIMEOUT)]
    log = folder / "server.log"
    with log.open("wb") as out:
        server = subprocess.Popen([*OURS, *words], cwd=folder, env=environment(), stdout=out, stderr=out)
    try:
        while server.poll() is None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.2)
        assert server.poll() is None, log.read_text()
        yield port, psutil.Process(server.pid), log
    finally:
        server.terminate()
        server.wait(60)
