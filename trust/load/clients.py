"""Clients of a served model: they send good and hostile requests, and judge the answers."""

import base64
import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from emotion_lightning.serving.recogniser import Recogniser
from trust.load import requests

MAX_MB, TIMEOUT = 2, 10  # of the server
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


Expected = list[tuple[dict[str, str], dict[str, float]]]
"""A row of a request, and the probabilities that it must get."""


def expected_answers(model: Recogniser, clips: list[Path]) -> Expected:
    return [
        ({"audio": base64.b64encode(clip.read_bytes()).decode()}, model.file(clip).probabilities) for clip in clips
    ]


def one_client(
    port: int, expected: Expected, chance: Random, tally: Tally, seconds: float, share: float = HOSTILE
) -> None:
    """Sends one request after another, on one connection while it lasts, for so many seconds."""
    end, connection = time.monotonic() + seconds, _connection(port)
    while time.monotonic() < end:
        if chance.random() < share:
            kind = chance.choice(list(requests.KINDS))
            fault = requests.sent(kind, port, chance, TIMEOUT, int(MAX_MB * 1e6))
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
