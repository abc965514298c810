"""Damaged files, and rows that are no sound, sent to our HTTP server."""

import base64
import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from trust.bad_audio.damaged_sounds import READ, REFUSED, Sounds
from trust.processes import OURS, environment, free_port
from trust.rows import Row, Setting, counts

SECONDS = 20  # of one request
LARGEST_SENT = 15_000_000  # bytes; base64 makes 20 MB of it, and the server takes 25 MB


def server_row(model: Path, sounds: Sounds, times: int, setting: Setting) -> Row:
    """A bad file gets 400 with a reason, a good one 200; the server answers an undamaged one as before, and logs no traceback."""
    faults, statuses = [], Counter[str]()
    good = sounds.original("wav", 0)
    with _served(_mlflow_folder(model), setting.work) as address:
        before = _ask(address, _audio(good))
        for number in range(times):
            case = sounds.case(number)
            if len(case.content) > LARGEST_SENT:
                continue  # 413, of which a client that is still sending may see a closed connection
            status, said = _ask(address, _audio(case.content))
            statuses[str(status)] += 1
            allowed = {READ: (200,), REFUSED: (400,)}.get(case.wanted, (200, 400))
            if case.samples is not None and len(case.samples) < 0.5 * case.rate:
                allowed = (200, 400)
            if status not in allowed or (status == 400 and ("\n" in said or not said)):
                faults.append(f"seed {setting.seed}, file {number}: {case.kind}: {status} {said[:200]}")
        for body in _bodies():
            status, said = _ask(address, body)
            statuses[str(status)] += 1
            if status != 400 or "\n" in said.strip() or not said:
                faults.append(f"{body[:80]!r}: {status} {said[:200]}")
        if before[0] != 200 or _ask(address, _audio(good)) != before:
            faults.append(f"an undamaged file had {before} before and {_ask(address, _audio(good))} after")
    if "Traceback" in (log := (setting.work / "server.log").read_text(errors="replace")):
        faults.append(f"the server's log: {log[log.index('Traceback') :][:300]}")
    return Row("our HTTP server", times + len(_bodies()), tuple(faults), f"status {counts(statuses)}")


def _mlflow_folder(model: Path) -> Path:
    return next(folder for folder in model.parents if (folder / "MLmodel").exists())


def _audio(content: bytes) -> bytes:
    return json.dumps({"dataframe_records": [{"audio": base64.b64encode(content).decode()}]}).encode()


def _bodies() -> list[bytes]:
    """Requests with rows that are no sound."""
    nan = float("nan")
    sounds: list[Any] = [None, 3, True, [], {}, "", "%", "ÿ", "A" * 5, [1]]
    samples: list[Any] = [None, 3, "x", [], {}, ["x"], [None] * 99, [[0.1, 0.2]] * 9]
    samples += [[[[0.1]]], [{}], [True], [1e39], [nan] * 9999, [[1], [1, 2]]]
    rates: list[Any] = [None, 0, -1, "x", [], [1], {}, 1e300, nan, True]
    paths: list[Any] = ["/etc/passwd", "", "x\0y", 3, [], "/dev/zero"]
    rows: list[Any] = [{"audio": value} for value in sounds]
    rows += [{"samples": value, "rate": 16_000} for value in samples]
    rows += [{"samples": [0.1, -0.1] * 9_999, "rate": rate} for rate in rates]
    rows += [{"path": value} for value in paths]
    rows += [3, None, [], "x"]
    bodies = [json.dumps({"dataframe_records": [row]}).encode() for row in rows]
    wrong = [
        b"",
        b"{",
        b"null",
        b"[" * 100_000,
        b'{"dataframe_records": {}}',
        b'{"dataframe_split": 3}',
        b'{"inputs": [1]}',
    ]
    for params in ("3", "[]", '{"min_confidence": "x"}', '{"min_confidence": NaN}', '{"min_confidence": 1e999}'):
        wrong.append(f'{{"dataframe_records": [{{"audio": "AAAA"}}], "params": {params}}}'.encode())
    return bodies + wrong


def _ask(address: str, body: bytes) -> tuple[int, str]:
    request = urllib.request.Request(f"{address}/invocations", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as refused:
        said = refused.read().decode(errors="replace")
        with suppress(ValueError, KeyError):
            said = json.loads(said)["error"]
        return refused.code, str(said)
    except (OSError, TimeoutError) as error:
        return 0, f"{type(error).__name__}: {error}"


@contextmanager
def _served(model: Path, work: Path) -> Iterator[str]:
    """Gives the address of a server of ours for the model."""
    port = free_port()
    command = [*OURS, "serve", "--model", str(model), "--port", str(port)]
    with (
        (work / "server.log").open("w") as log,
        subprocess.Popen(command, cwd=work, env=environment(OMP_NUM_THREADS="1"), stdout=log, stderr=log) as server,
    ):
        try:
            for _ in range(600):
                if server.poll() is not None:
                    break
                with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
                    break
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)
