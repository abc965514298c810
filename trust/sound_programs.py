"""Damaged sound files through whole programs: `predict` on a folder, and our HTTP server."""

import base64
import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from benchmarks.timing import REPOSITORY
from trust.damaged_sounds import READ, REFUSED, Sounds
from trust.rows import Row, Setting

SECONDS = 20  # of one request
LARGEST_SENT = 15_000_000  # bytes; base64 makes 20 MB of it, and the server takes 25 MB


# ---------------------------------------------------------------- folders of files, through the command line


def _command(model: Path, folder: Path, out: Path, *more: str) -> tuple[list[dict[str, str]], str]:
    """Returns the rows that `predict` writes of a folder, and what is wrong with how it ended."""
    command = [sys.executable, "-m", "emotion_lightning", "predict", str(folder), "--model", str(model)]
    done = subprocess.run(
        [*command, "--out", str(out), *more],
        cwd=out.parent,
        env=_environment(),
        capture_output=True,
        timeout=900,
        check=False,
        text=True,
        errors="replace",
    )
    if done.returncode not in (0, 2) or "Traceback" in done.stderr or not out.exists():
        return [], f"exit status {done.returncode}: {' '.join(done.stderr.split())[-300:]}"
    with out.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file)), ""


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "MLFLOW_TRACKING_URI": "", "OMP_NUM_THREADS": "1"}


def folder_row(model: Path, sounds: Sounds, times: int, setting: Setting) -> Row:
    """A folder of damaged files: those that must be read have an answer, those that must be refused a reason."""
    folder = setting.work / "folder"
    folder.mkdir()
    cases = {f"{number}{(case := sounds.case(number)).suffix}": case for number in range(times)}
    for name, case in cases.items():
        (folder / name).write_bytes(case.content)
    written_rows, fault = _command(model, folder, setting.work / "folder.csv")
    found = {Path(row["file"]).name: row for row in written_rows}
    faults = [fault] if fault else [f"{name}: not in the report" for name in cases if name not in found]
    for name in found.keys() & cases.keys():
        wanted, row = cases[name].wanted, found[name]
        if bool(row["emotion"]) == bool(row["fault"]) or (wanted == REFUSED and row["emotion"]):
            faults.append(f"{cases[name].kind} ({name}): '{row['emotion']}', '{row['fault']}'")
    return Row("`predict` on a folder", times, tuple(faults), f"{sum(bool(r['fault']) for r in written_rows)} named")


NAMES = (
    *(
        "plain",
        "with blanks",
        "two\nlines",
        "tab\there",
        "-v",
        "--out",
        "-",
        "'quoted' \"twice\"",
        "$(touch x)",
        "`x`",
    ),
    *(
        "100 %d",
        "%s",
        "*",
        "a?b[1]",
        "{a,b}",
        "[red]not a colour",
        "$a^2$ $",
        "C:\\clip",
        "semi;colon",
        "a,b",
        "&",
        "#",
    ),
    *(
        "Ärger",
        "Ωραία",
        "радость",
        "гнев",
        "喜び",
        "悲伤",
        "기쁨",
        "فرح",
        "שמחה",
        "ख़ुशी",
        "ความสุข",
        "😀 👨‍👩‍👧",
        "e\u0301",
        "\u202egnirts",
    ),
    *("~", "~nobody", "x.wav", "x.tar", "nul", "\x01\x1b[31m", "l" * 246, "ß" * 120),
)
RAW = (b"latin-1 \xe4\xff", b"\xf0\x28\x8c")  # file names that are not UTF-8


def names_row(model: Path, sounds: Sounds, setting: Setting) -> Row:
    """The same voice under all names, and what looks like a file and is none: all files have the same answer, timelines too."""
    folder = setting.work / "names"
    (folder / "folder.wav").mkdir(parents=True)
    (folder / "other").mkdir()
    content = sounds.original("wav", 0)
    names = [os.fsencode(f"{name}.wav") for name in NAMES] + [name + b".wav" for name in RAW] + [b"other/plain.wav"]
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(content)  # noqa: PTH118 - bytes
    (folder / "loop.wav").symlink_to("loop.wav")
    (folder / "folder.wav" / "up").symlink_to(folder)
    (folder / "gone.wav").symlink_to("nowhere.wav")
    (folder / "device.wav").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.wav")
    (folder / "closed.wav").write_bytes(content)
    (folder / "closed.wav").chmod(0)
    faults = []
    for form, more in ((".csv", ()), (".json", ()), (".csv", ("--timeline",))):
        out = setting.work / f"names{len(more)}" / f"out{form}"
        out.parent.mkdir(exist_ok=True)
        if form == ".json":
            found, fault = _json_rows(model, folder, out)
        else:
            found, fault = _command(model, folder, out, *more)
        answered = [row for row in found if row.get("emotion")]
        known = {(row["emotion"], row["confidence"]) for row in answered}
        if fault or len(known) != 1:
            faults.append(f"{form} {more}: {fault or known}")
        refused = {Path(row["file"]).name for row in found if row.get("fault")}
        if len(answered) != len(names) + (os.geteuid() == 0) or refused - {"closed.wav"}:
            faults.append(
                f"{form} {more}: {len(answered)} answers for {len(names)} names, refused: {sorted(refused)}"
            )
        pictures = len(list(out.parent.rglob("*.png")))
        if more and pictures != len(answered):
            faults.append(f"{pictures} pictures of {len(answered)} timelines")
    return Row("names, links, pipes, devices, closed files", 3 * (len(names) + 6), tuple(faults))


def _json_rows(model: Path, folder: Path, out: Path) -> tuple[list[dict[str, Any]], str]:
    _, fault = _command(model, folder, out)
    return (json.loads(out.read_text(encoding="utf-8")), fault) if out.exists() else ([], fault)


# ---------------------------------------------------------------- the server


@contextmanager
def _served(model: Path, work: Path) -> Iterator[str]:
    """Gives the address of a server of ours for the model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "emotion_lightning", "serve", "--model", str(model), "--port", str(port)]
    with (
        (work / "server.log").open("w") as log,
        subprocess.Popen(command, cwd=work, env=_environment(), stdout=log, stderr=log) as server,
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


def server_row(model: Path, sounds: Sounds, times: int, setting: Setting) -> Row:
    """A bad file gets 400 with a reason, a good one 200; the server answers an undamaged one as before, and logs no traceback."""
    faults, statuses = [], Counter[str]()
    good = sounds.original("wav", 0)
    with _served(_mlflow_folder(model), setting.work) as address:
        before = _ask(address, _audio(good))
        for number in range(times):
            case = sounds.case(number)
            if (
                len(case.content) > LARGEST_SENT
            ):  # 413, of which a client that is still sending may see a closed connection
                continue
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


def counts(outcomes: Counter[str]) -> str:
    """Returns how often there was each outcome."""
    return ", ".join(f"{count} × {outcome}" for outcome, count in sorted(outcomes.items()) if outcome)
