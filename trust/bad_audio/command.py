"""Folders of files through `predict`: damaged ones, and names and links of every kind."""

import csv
import json
import os
import subprocess
from pathlib import Path
from typing import Any

from trust.bad_audio.damaged_sounds import REFUSED, Sounds
from trust.processes import OURS, environment
from trust.rows import Row, Setting

NAMES = (
    "plain", "with blanks", "two\nlines", "tab\there", "-v", "--out", "-", "'quoted' \"twice\"", "$(touch x)", "`x`",
    "100 %d", "%s", "*", "a?b[1]", "{a,b}", "[red]not a colour", "$a^2$ $", "C:\\clip", "semi;colon", "a,b", "&", "#",
    "Ärger", "Ωραία", "радость", "гнев", "喜び", "悲伤", "기쁨", "فرح", "שמחה", "ख़ुशी", "ความสุข", "😀 👨‍👩‍👧", "e\u0301",
    "\u202egnirts", "~", "~nobody", "x.wav", "x.tar", "nul", "\x01\x1b[31m", "l" * 246, "ß" * 120,
)  # fmt: skip
RAW = (b"latin-1 \xe4\xff", b"\xf0\x28\x8c")  # file names that are not UTF-8


def folder_row(model: Path, sounds: Sounds, times: int, setting: Setting) -> Row:
    """A folder of damaged files: those that must be read have an answer, those that must be refused a reason."""
    folder = setting.work / "folder"
    folder.mkdir()
    cases = {f"{number}{(case := sounds.case(number)).suffix}": case for number in range(times)}
    for name, case in cases.items():
        (folder / name).write_bytes(case.content)
    written_rows, fault = _predict(model, folder, setting.work / "folder.csv")
    found = {Path(row["file"]).name: row for row in written_rows}
    faults = [fault] if fault else [f"{name}: not in the report" for name in cases if name not in found]
    for name in found.keys() & cases.keys():
        wanted, row = cases[name].wanted, found[name]
        if bool(row["emotion"]) == bool(row["fault"]) or (wanted == REFUSED and row["emotion"]):
            faults.append(f"{cases[name].kind} ({name}): '{row['emotion']}', '{row['fault']}'")
    return Row("`predict` on a folder", times, tuple(faults), f"{sum(bool(r['fault']) for r in written_rows)} named")


def names_row(model: Path, sounds: Sounds, setting: Setting) -> Row:
    """The same voice under all names, and what looks like a file and is none: all files have the same answer, timelines too."""
    folder, content = setting.work / "names", sounds.original("wav", 0)
    names = [os.fsencode(f"{name}.wav") for name in NAMES] + [name + b".wav" for name in RAW] + [b"other/plain.wav"]
    _write(folder, names, content)
    faults = []
    for form, more in ((".csv", ()), (".json", ()), (".csv", ("--timeline",))):
        out = setting.work / f"names{len(more)}" / f"out{form}"
        out.parent.mkdir(exist_ok=True)
        found, fault = _predict(model, folder, out, *more)
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


def _write(folder: Path, names: list[bytes], content: bytes) -> None:
    """Writes the content under each name, and puts links, a pipe, a device and a closed file beside them."""
    (folder / "folder.wav").mkdir(parents=True)
    (folder / "other").mkdir()
    for name in names:
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_bytes(content)  # noqa: PTH118 - bytes
    (folder / "loop.wav").symlink_to("loop.wav")
    (folder / "folder.wav" / "up").symlink_to(folder)
    (folder / "gone.wav").symlink_to("nowhere.wav")
    (folder / "device.wav").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.wav")
    (folder / "closed.wav").write_bytes(content)
    (folder / "closed.wav").chmod(0)


def _predict(model: Path, folder: Path, out: Path, *more: str) -> tuple[list[dict[str, Any]], str]:
    """Returns the rows that `predict` writes of a folder, and what is wrong with how it ended."""
    done = subprocess.run(
        [*OURS, "predict", str(folder), "--model", str(model), "--out", str(out), *more],
        cwd=out.parent,
        env=environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        timeout=900,
        check=False,
        text=True,
        errors="replace",
    )
    if done.returncode not in (0, 2) or "Traceback" in done.stderr or not out.exists():
        return [], f"exit status {done.returncode}: {' '.join(done.stderr.split())[-300:]}"
    with out.open(encoding="utf-8", newline="") as file:
        return json.load(file) if out.suffix == ".json" else list(csv.DictReader(file)), ""
