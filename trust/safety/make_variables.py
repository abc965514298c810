"""Values of make's variables that are commands of a shell."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from benchmarks.timing import REPOSITORY

TARGETS = {
    "train": "EXP PROTOCOL SET JOBS FOLDS RESUME CORPORA DATA CACHE PARTS", "study": "STUDY SET ENGINE GPUS JOBS",
    "honesty": "EXP FOLDS", "tune": "EXP TRIALS INNER SET", "audit": "EXP PROTOCOL", "sanity": "EXP SET", "report": "STUDY",
    "compare": "A B STUDY", "import": "RUN", "data": "CORPUS", "weights": "NAME", "predict": "AUDIO RUN MODEL OUT MIN MIC",
    "explain": "RUN AUDIO TOP MAP", "register": "RUN NAME", "serve": "RUN MODEL PORT HOST MAX_MB TIMEOUT",
    "app": "MODEL MIN HOST PORT", "export": "RUN OUT AUDIO", "ui": "PORT", "prune": "OLDER STUDY",
}  # fmt: skip
VALUES = (
    "a; touch x", "$(touch x)", "`touch x`", "$(shell touch x)", "' ; touch x; '", '" ; touch x; "', "a && touch x",
    "a | touch x", "x\n\ttouch x", "a > x", "$$(touch x)", "${SHELL:+$(touch x)}", "\\'; touch x; \\'", "a,$(shell touch x)",
)  # fmt: skip


def through_make(folder: Path) -> Iterator[tuple[str, str]]:
    """Yields each target, variable and value that was tried, and "a command was run" if it made a file."""
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    shutil.copy(REPOSITORY / "Makefile", folder)
    for name in ("python", "emotion-lightning"):
        (programs / name).write_text("#!/bin/sh\nexit 0\n")
        (programs / name).chmod(0o755)
    for name in ("pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    extras = ("dev", "cluster", "weights", "tune", "onnx", "app", "explain", "audit")
    for stamp in (".installed", *(f".installed-{extra}" for extra in extras)):
        (programs.parent / stamp).touch()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    for target, variables in TARGETS.items():
        given = dict.fromkeys(variables.split(), "1")
        for name in given:
            for value in VALUES:
                words = [f"{key}={value if key == name else other}" for key, other in given.items()]
                subprocess.run(
                    ["make", target, *words], cwd=folder, env=environment, capture_output=True, check=False
                )
                ran = (folder / "x").exists()
                (folder / "x").unlink(missing_ok=True)
                yield f"make {target} {name}={value!r}", "a command was run" if ran else ""
