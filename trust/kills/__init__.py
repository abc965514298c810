"""SIGKILL while caches, runs, checkpoints, models, studies, searches and reports are made; then the command is started again.

The judge reads files and databases without our code: nothing that was logged is lost or doubled, no killed run stands as
RUNNING once a command has looked at the store, what is on disk is whole or refused, and the end equals that of an unbroken run.
"""

import functools
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
import yaml

from trust import forked, moments, places
from trust.moments import Moment, Watch
from trust.rows import Row, Setting

PATIENCE = 300  # s that a command may take
TRIALS = 4


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


def rows(setting: Setting) -> Iterator[Row]:
    """Kills at random moments of each kind of work, starts again, and compares with an unbroken run."""
    chance, cache = Random(setting.seed), setting.work / "cache"
    ended(places.make(setting.work / "first", cache), "train", "estimator")  # fills the cache for all others
    unbroken: dict[tuple[object, ...], tuple[Path, float]] = {}
    for number, case in enumerate(CASES):
        if case.reference not in unbroken:
            unbroken[case.reference] = _unbroken(case, setting.work / f"unbroken-{number}", cache)
        whole, duration = unbroken[case.reference]
        drawn = moments.draw(
            chance, setting.times(case.times), whole.parent / f"{whole.name}.log", case.wanted, duration
        )
        faults, hits = [], 0
        for index, moment in enumerate(drawn):
            folder = case.make(setting.work / f"{number}-{index}", cache)
            broken = Broken(case, folder, whole)
            found = list(broken.judged(moment))
            hits += broken.was_killed
            faults += [f"{moment}: {fault}" for fault in found]
            if not found:
                shutil.rmtree(folder)
        yield Row(case.label, len(drawn), tuple(faults), f"{hits} were killed, {len(drawn) - hits} ended before")


def _unbroken(case: Case, folder: Path, cache: Path) -> tuple[Path, float]:
    """Runs the command to its end; returns the folder and how many seconds it took."""
    case.make(folder, cache)
    began = time.monotonic()
    ended(folder, *case.words, before=Watch(folder, folder.with_name(f"{folder.name}.log")))
    return folder, time.monotonic() - began


def ended(folder: Path, *words: str, before: Watch | None = None, code: int = 0) -> str:
    """Runs a command to its end and returns what it printed.

    Raises: RuntimeError for another exit status than `code`.
    """
    process = forked.start(folder, *words, before=before, TMPDIR=str(folder / "tmp"), OMP_NUM_THREADS="1")
    try:
        said = "".join(process.communicate(PATIENCE))
    finally:
        process.kill()
    if process.returncode != code:
        raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}: {' '.join(said.split())[-400:]}")
    return said


@dataclass
class Broken:
    """A folder in which a case is killed and started again; `whole` is that of the unbroken run."""

    case: Case
    folder: Path
    whole: Path
    was_killed: bool = False

    def judged(self, moment: Moment) -> Iterator[str]:
        """Yields what was lost or wrong."""
        try:
            ended(self.folder, *self.case.words, before=Watch(self.folder, moment=moment), code=-9)
            self.was_killed = True
        except RuntimeError as early:
            if "ended with 0" not in str(early):
                yield str(early)
                return
        try:
            yield from self._after_the_kill()
        except RuntimeError as fault:
            yield str(fault)

    def _after_the_kill(self) -> Iterator[str]:
        killed = {run for run, status in places.runs(self.folder).items() if status == "RUNNING"}
        before = places.epochs(self.folder)
        yield from half_files(self.folder, self.whole)
        ended(self.folder, "prune")  # a command that looks at the store
        for run, status in places.runs(self.folder).items():
            if status == "RUNNING" or (run in killed and status != "KILLED"):
                yield f"run {run[:8]} is {status} after the kill"
        yield from half_models(self.folder, self.whole)
        ended(self.folder, *self._again())
        after = places.epochs(self.folder)
        if lost := set(before) - set(after):
            yield f"lost {len(lost)} logged values, such as {sorted(lost)[0][:3]}"
        doubled = Counter((metric, epoch, run) for metric, epoch, _, _, run in after)
        if many := [where for where, count in doubled.items() if count > 1]:
            yield f"doubled {len(many)} logged values, such as {many[0]}"
        yield from self.case.judge(self.folder, self.whole)

    def _again(self) -> tuple[str, ...]:
        """Returns the words that go on: a training run that was opened is resumed, another command is typed again."""
        open_runs = [run for run, status in places.runs(self.folder).items() if status == "KILLED"]
        if self.case.words[0] != "train" or not open_runs:
            return self.case.words if self.case.words[0] != "train" or not places.runs(self.folder) else ("prune",)
        return (*self.case.words, "--resume", open_runs[0])


def half_files(folder: Path, whole: Path) -> Iterator[str]:
    """Yields files in their final places that are neither missing nor whole: checkpoints, caches, reports."""
    for file in (folder / "mlruns" / "checkpoints").glob("*/*.ckpt"):
        try:
            torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:
            yield f"half a checkpoint: {file.name} ({type(error).__name__})"
    if (folder / ".cache").is_dir():
        there = _cached(whole)
        yield from (f"half a cache: {name}" for name, file in _cached(folder).items() if there.get(name) != file)
    for name, digest in places.files(folder / "reports").items():
        if Path(name).suffix in (".csv", ".tex") and places.files(whole / "reports").get(name) != digest:
            yield f"half a report: {name}"
        if name.endswith(".html") and "</html>" not in (folder / "reports" / name).read_text():
            yield f"half a report: {name}"
        if name.endswith(".png") and not (folder / "reports" / name).read_bytes().endswith(b"IEND\xaeB`\x82"):
            yield f"half a report: {name}"
    for file in (folder / "experiments").glob("*_tuned.yaml"):
        if not isinstance(yaml.safe_load(file.read_text()), dict):
            yield f"half an experiment file: {file.name}"


def _cached(folder: Path) -> dict[str, str]:
    """Returns the digests of the files in complete folders of the cache, without the digest in a folder's name."""
    found = places.files(folder / ".cache")
    names = {name: Path(name).parts for name in found}
    return {
        "/".join((parts[0].partition("-")[0], *parts[1:])): found[name]
        for name, parts in names.items()
        if not parts[0].startswith(".") and not parts[0].endswith(".part")
    }


def half_models(folder: Path, whole: Path) -> Iterator[str]:
    """Yields models that our commands read from a run and that are none of those of the unbroken command."""
    good = set(_of_the_unbroken(whole).values())
    for model, answer in _answers(folder).items():
        if answer not in good and not answer.startswith("refused: "):
            yield f"half a model was read: {model}: {answer[:200]}"


@functools.cache
def _of_the_unbroken(whole: Path) -> dict[str, str]:
    return _answers(whole)


def _answers(folder: Path) -> dict[str, str]:
    """Returns what each model of a folder answers, read in a process of its own, because that changes the folder.

    Raises: RuntimeError where the process does not end well.
    """
    file = folder / "read.json"
    process = forked.fork_server().Process(target=_read, args=(folder, list(places.runs(folder)), file))
    process.start()
    process.join(PATIENCE)
    if process.exitcode != 0:
        raise RuntimeError(f"reading the models ended with {process.exitcode}")
    return dict(json.loads(file.read_text()))


def _read(folder: Path, runs: list[str], output: Path) -> None:
    """Reads the checkpoint and the package of runs as our commands do; writes what each answers, or the refusal."""
    os.chdir(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    from emotion_lightning.errors import UserError
    from emotion_lightning.serving import package
    from emotion_lightning.serving.find import package_folder
    from emotion_lightning.training import kept

    waves = torch.rand(1, 16_000, generator=torch.Generator().manual_seed(0)) - 0.5

    def answer(read: Callable[[], torch.nn.Module]) -> str:
        try:
            with torch.inference_mode():
                return str(read()(waves, torch.tensor([16_000])).tolist())
        except UserError as refusal:
            return f"refused: {refusal}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    answers = {}
    for run in runs:
        answers[f"checkpoint of run {run[:8]}"] = answer(lambda run=run: kept.model(kept.find(run)))  # type: ignore[misc]
        answers[f"package of run {run[:8]}"] = answer(lambda run=run: package.read(package_folder(run=run)).model)  # type: ignore[misc]
    output.write_text(json.dumps(answers))


def equal_runs(folder: Path, whole: Path) -> Iterator[str]:
    """Yields how the finished runs differ from those of the unbroken command."""
    statuses = Counter(places.runs(folder).values())
    if statuses != Counter(places.runs(whole).values()):
        yield f"at the end: {dict(statuses)}"
    if places.figures(folder) != places.figures(whole):
        ours, theirs = dict(places.figures(folder)), dict(places.figures(whole))
        different = [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
        yield f"other figures: {different[:3]}" if different else "figures are there twice"
    if _logged(folder) != _logged(whole):
        yield f"other epochs: {sorted(set(_logged(folder)) ^ set(_logged(whole)))[:2]}"
    for counted in (
        "inputs WHERE destination_type = 'RUN'",
        "logged_models WHERE lifecycle_stage = 'active'",
        "params",
    ):
        counts = [places.rows(place, f"SELECT COUNT(*) FROM {counted}")[0][0] for place in (folder, whole)]
        if counts[0] != counts[1]:
            yield f"{counts[0]} {counted.partition(' ')[0]}, not {counts[1]}"
    live = "SELECT model_id FROM logged_models WHERE lifecycle_stage = 'active' AND status != 2"
    if unready := places.rows(folder, live):
        yield f"models that are not ready: {len(unready)}"
    if (ours_files := _artifacts(folder)) != (theirs_files := _artifacts(whole)):
        yield f"other artifacts: {sorted((ours_files - theirs_files) + (theirs_files - ours_files))[:3]}"


def _logged(folder: Path) -> list[tuple[str, int, float]]:
    """Returns (metric, epoch, value) of the finished runs."""
    finished = {run for run, status in places.runs(folder).items() if status == "FINISHED"}
    return sorted(row[:3] for row in places.epochs(folder) if row[4] in finished)


def _artifacts(folder: Path) -> Counter[str]:
    """Returns the names of all artifacts, with the digests of the tables."""
    found = Counter[str]()
    for name, digest in places.files(folder / "mlruns" / "artifacts").items():
        if name.endswith("registered_model_meta") or ".artifact.uploading." in name:
            continue  # written when a model is read; left by a kill amid a copy, which MLflow never shows
        plain = moments.NUMBERS.sub("*", name)
        found[f"{plain} {digest}" if name.endswith("predictions.csv") else plain] += 1
    return found


def equal_caches(folder: Path, whole: Path) -> Iterator[str]:
    """Yields how the runs and the caches differ."""
    yield from equal_runs(folder, whole)
    if _cached(folder) != _cached(whole):
        yield "other caches"


def equal_studies(folder: Path, whole: Path) -> Iterator[str]:
    """Yields how the runs, the report and the study's own run differ."""
    yield from equal_runs(folder, whole)
    ours, theirs = (places.files(place / "reports" / "demo_study") for place in (folder, whole))
    if ours.keys() != theirs.keys() or any(ours[name] != theirs[name] for name in ("table.csv", "table.tex")):
        yield f"another report: {sorted(name for name in ours if ours[name] != theirs.get(name))}"
    own = "SELECT status FROM runs JOIN tags USING (run_uuid) WHERE key = 'kind' AND tags.value = 'study'"
    if (status := places.rows(folder, own)) != [("FINISHED",)]:
        yield f"the study's own run: {status}"
    logged = {
        name.rpartition("/")[2]: digest
        for name, digest in places.files(folder / "mlruns").items()
        if "/artifacts/report/" in name
    }
    if logged != {name.rpartition("/")[2]: digest for name, digest in ours.items()}:
        yield "the logged report is not that of reports/"


def equal_searches(folder: Path, whole: Path) -> Iterator[str]:
    """Yields how the trials, their runs, the search's own run and the experiment file differ."""
    for query in (
        "SELECT param_name, param_value FROM trial_params JOIN trials USING (trial_id) WHERE state = 'COMPLETE'",
        "SELECT value FROM trial_values ORDER BY 1",
    ):
        found = [sorted(places.rows(place, query, "tuning.db")) for place in (folder, whole)]
        if found[0] != found[1]:
            yield f"other trials: {found[0]} for {found[1]}"
    states = Counter(state for (state,) in places.rows(folder, "SELECT state FROM trials", "tuning.db"))
    if states["RUNNING"] or states["WAITING"] or states["COMPLETE"] + states["PRUNED"] != TRIALS:
        yield f"trials: {dict(states)}"
    ends = "SELECT status, tags.value FROM runs JOIN tags USING (run_uuid) WHERE key = 'trial/state'"
    found_ends = Counter(places.rows(folder, ends))
    if wrong := set(found_ends) - {("FINISHED", "complete"), ("FINISHED", "pruned"), ("KILLED", "killed")}:
        yield f"runs of trials: {sorted(wrong)}"
    if sum(count for (status, _), count in found_ends.items() if status == "FINISHED") != TRIALS:
        yield f"runs of trials: {dict(found_ends)}"
    own = "FROM runs JOIN tags USING (run_uuid) WHERE key = 'kind' AND tags.value = 'tuning'"
    if (status := places.rows(folder, f"SELECT status {own}")) != [("FINISHED",)]:
        yield f"the search's own run: {status}"
    count = f"SELECT COUNT(*) FROM params WHERE run_uuid IN (SELECT run_uuid {own})"
    if places.rows(folder, count) != places.rows(whole, count):
        yield "the search's own run lacks settings"
    texts = [
        (place / "experiments" / f"{name}_tuned.yaml")
        for place in (folder, whole)
        for name in ("searched", "estimator")
    ]
    read = [yaml.safe_load(file.read_text()) for file in texts if file.exists()]
    if len(read) != 2 or read[0] != read[1]:
        yield f"another experiment file: {read}"
    if any((folder / "mlruns" / "checkpoints").glob("*/inner*")):
        yield "checkpoints of a trial are left"


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
