"""What is killed: the command, the writes at which it is, and how its end is judged."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trust import places
from trust.forked import ended
from trust.kills.equal import TRIALS, equal_caches, equal_runs, equal_searches, equal_studies


@dataclass(frozen=True)
class Case:
    """What is killed. `wanted` matches the writes at which it is; at any time without it. `judge` compares two folders."""

    label: str
    times: int
    words: tuple[str, ...]
    wanted: str
    judge: Callable[[Path, Path], Iterator[str]]
    make: Callable[[Path, Path], Path] = lambda folder, cache: places.make(folder, cache)

    @property
    def reference(self) -> tuple[object, ...]:
        """What cases with equal unbroken runs have in common."""
        return self.words, self.make


def _finished_study(folder: Path, cache: Path) -> Path:
    """Makes a folder with a finished study: a copy of one that is made once."""
    ready = folder.parent / "ready-study"
    if not ready.exists():
        places.make(ready, cache)
        ended(ready, "study", "demo_study")
    return places.copy(ready, folder)


def _fresh(folder: Path, cache: Path) -> Path:
    return places.make(folder, store=False)


def _own_cache(folder: Path, cache: Path) -> Path:
    return places.make(folder)


STORE = r"mlruns/[^/]*$|CREATE|ALTER|INSERT (exp|alembic)"
CHECKPOINTS = r"checkpoints/\*/(best|last|.*\.part)|checkpoints/?\*?$"
TRAIN, ESTIMATE, STUDY, REPORT = (
    ("train", "network"),
    ("train", "estimator"),
    ("study", "demo_study"),
    ("report", "demo_study"),
)
TUNE, SEARCH = (("tune", name, "--trials", str(TRIALS)) for name in ("searched", "estimator"))
CASES = (
    Case("the first run in a folder, which makes its store", 5, ESTIMATE, STORE, equal_runs, _fresh),
    Case("caching: voices, waveforms, features", 8, ESTIMATE, r" \.cache", equal_caches, _own_cache),
    Case("training, at any time", 6, TRAIN, "", equal_runs),
    Case("checkpoints", 8, TRAIN, CHECKPOINTS, equal_runs),
    Case("logging to MLflow", 10, TRAIN, r"sql|commit|artifacts/\*", equal_runs),
    Case("the model package", 6, TRAIN, r"package|models/|logged_model", equal_runs),
    Case("an estimator", 5, ESTIMATE, r"mlruns|sql|commit", equal_runs),
    Case("a study, at any time", 5, STUDY, "", equal_studies),
    Case("a study's own run and report", 5, STUDY, r"mlruns|reports|sql|commit", equal_studies),
    Case("tuning, at any time", 3, TUNE, "", equal_searches),
    Case("trials, their runs and the result", 8, SEARCH, r"mlruns|experiments|sql|commit", equal_searches),
    Case("report", 5, REPORT, r"reports|artifacts|sql|commit", equal_studies, _finished_study),
)
