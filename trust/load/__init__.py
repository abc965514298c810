"""The served model under 64 concurrent clients for 60 s, with malformed, huge, slow and broken-off requests among them.

Each answer to a good request is compared with that of the model in this process. A hostile request must get the status that
docs/serving.md names for it. The server's memory, open files and stderr are watched from outside.
"""

import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from emotion_lightning.serving import package
from trust.commands import run, workplace
from trust.load.clients import MAX_MB, TIMEOUT, Tally, expected_answers, one_client
from trust.processes import OURS, environment, free_port
from trust.rows import Row, Setting

CLIENTS, SECONDS = 64, 60


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
    expected = expected_answers(model, clips)
    with _served(folder, model.about.run) as (port, server, log):
        tally, watched = Tally(), Watched(server)
        one_client(port, expected, Random(setting.seed), Tally(), 4, share=0)  # warm up
        before = server.num_fds()
        ends = time.monotonic() + seconds

        def client(number: int) -> None:
            one_client(port, expected, Random(setting.seed * 1000 + number), tally, ends - time.monotonic())

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
        one_client(port, expected, Random(setting.seed), last, 2, share=0)
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
