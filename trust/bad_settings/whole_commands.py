"""Wrong files and overrides in whole commands."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from trust import processes
from trust.bad_settings.values import SPECIAL
from trust.rows import Row, Setting


def refused(setting: Setting) -> Row:
    """A wrong file or override with each command: status 2, clear lines, no traceback, no run."""
    folder = Path("commands")
    commands = [*_with_files(folder), *WITHOUT_FILES]
    chosen = commands[:: max(1, round(0.25 / setting.share))]
    faults = [f"{words}: {fault}" for words in chosen if (fault := _fault(folder, words))]
    return Row("whole commands", len(chosen), tuple(faults))


def _with_files(folder: Path) -> Iterator[list[str]]:
    """Writes experiments and studies of YAML's special forms and a table; yields the commands that read the first two."""
    (folder / "experiments" / "studies").mkdir(parents=True)
    (folder / "mine.csv").write_bytes(b"path,emotion,speaker\n~nobody/x.wav,sad,ann\n")
    for command, place, chosen in (
        ("train", "experiments/e", range(0, len(SPECIAL), 5)),
        ("study", "experiments/studies/s", range(3, len(SPECIAL), 8)),
    ):
        for number in chosen:
            file = folder / f"{place}{number}.yaml"
            file.write_bytes(SPECIAL[number])
            yield [command, file.stem]


WITHOUT_FILES = (
    ["train", "demo", f"seed={2**70}"],
    ["train", "demo", "fit.ema=.nan"],
    ["train", "demo", "\x1b[31m=1"],
    ["train", "demo", f"{'a' * 5_000}=1"],
    ["train", "demo", "corpora=table"],
    ["train", "demo", "corpora.table.path=~nobody/x"],
    ["train", "demo", "--corpora", "\udcff"],
    ["train", "demo", "corpora=table", "corpora.table.path=mine.csv"],
    *([command, "x" * 300] for command in ("train", "study")),
    *(
        [command, "a\x01b"]
        for command in ("train", "study", "report", "honesty", "audit", "sanity", "data", "weights")
    ),
)


def _fault(folder: Path, words: Sequence[str]) -> str:
    done = subprocess.run(
        [*processes.OURS, *map(os.fsencode, words)],
        cwd=folder,
        env=processes.environment(OMP_NUM_THREADS="1"),
        capture_output=True,
        timeout=300,
        check=False,
    )
    said = done.stderr.decode(errors="replace")
    if done.returncode != 2 or "Traceback" in said or not said.startswith("error: "):
        return f"status {done.returncode}: {' '.join(said.split())[-300:]}"
    if not all(line.isprintable() for line in said.splitlines()):
        return f"not a clear line: {said[:200]!r}"
    if (folder / "mlruns").exists() and words[0] != "report":  # which opens the store to look for the study
        return "it left mlruns/"
    shutil.rmtree(folder / "mlruns", ignore_errors=True)
    return ""
