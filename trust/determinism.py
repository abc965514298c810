"""The same seed gives the same figures: every model, on a processor, in processes of their own.

Each pair of runs is compared by all metrics of MLflow but times and the use of the machine, and by predictions.csv, byte for
byte: with an empty cache and with a full one, unbroken and resumed after a kill. Two ranks add gradients in another order, so
they agree within 0.1 % of a loss. Studies, their ensembles and searches are compared by the files that they write.
"""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from benchmarks.timing import REPOSITORY
from trust import commands, experiments
from trust.experiments import VOICES
from trust.rows import Row, Setting

DEMO = (VOICES, "protocol.folds=3", "fit.accelerator=cpu")
EPOCHS = ("fit.stages.large.epochs=2", "fit.stages.large.size=32")
NETWORKS: dict[str, tuple[str, ...]] = {
    "small_cnn": (),
    "timm_backbone": ("model.backbone=resnet10t", "model.weights=none"),
    "resnet_stats": ("model.widths=[16,24]",),
    **dict.fromkeys(("area_attention", "eca_cnn"), ()),
}
"""Networks that take pictures of several sizes."""
ONE_SIZE: dict[str, tuple[str, ...]] = {
    "cnn1d_attention": ("model.width=16",),
    "encoder_layers": ("model.weights=none", "model.count=1"),
    "fusion": ("model.bands=[10,6,4]", "model.width=16"),
    **dict.fromkeys(("cnn_lstm", "encoder_head", "lstm", "lstm_pooled"), ()),
}
ESTIMATORS = ("svm", "svm_search", "logistic_search", "lda")
CHANGING = re.compile(r"^(system/|seconds|clips_per_second|machine/|epoch_seconds|time/)")
SAMPLES = "data.samples=0"  # pictures of clips, which are not compared


def rows(setting: Setting) -> Iterator[Row]:
    recipes = [*_networks(), *_estimators()]
    chosen = recipes[: setting.times(len(recipes), 2)]
    faults, resumed, again = [], [], 0
    for name, words in chosen:
        folder = setting.work / name
        cold, warm = trained(folder, *words), trained(folder, *words)
        faults += [f"{name}: {difference(cold, warm)}"] if difference(cold, warm) else []
        if words[0] in ("demo_small_cnn", "net"):
            again += 1
            broken = difference(cold, after_kill(setting.work / f"{name}-killed", *words))
            resumed += [f"{name}: {broken}"] if broken else []
    seen = f"{len(cold.data.metrics)} metrics and predictions.csv each"
    yield Row("two processes, empty and full cache", len(chosen), tuple(faults), seen)
    yield Row("killed after an epoch and resumed", again, tuple(resumed), seen)
    yield _ranks(setting.work)
    yield _written("study with an ensemble, one job and two", setting.work, _study)
    yield _written("search with tuned settings, twice", setting.work, _search)


def _networks() -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, own in NETWORKS.items():
        yield name, ("demo_small_cnn", *DEMO, *EPOCHS, SAMPLES, f"model={name}", *own)
    for name, own in ONE_SIZE.items():
        yield name, ("net", *DEMO, SAMPLES, f"model={name}", *own)


def _estimators() -> Iterator[tuple[str, tuple[str, ...]]]:
    for name in ESTIMATORS:
        yield name, ("demo_svm", *DEMO, SAMPLES, f"model={name}")


def trained(folder: Path, *words: str) -> Run:
    """Trains in a process of its own; returns the newest run of the folder.

    Raises: RuntimeError where the command fails.
    """
    if not folder.exists():
        commands.workplace(folder)
    ended = commands.run(folder, "train", *words, OMP_NUM_THREADS="1")
    if ended.status != 0:
        raise RuntimeError(ended.printed[-2000:])
    return newest(folder)


def newest(folder: Path) -> Run:
    """Returns the newest run of a folder's store."""
    client = MlflowClient(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    found: list[Run] = client.search_runs([e.experiment_id for e in client.search_experiments()])
    return found[0]


def after_kill(folder: Path, *words: str) -> Run:
    """Kills the training when its first checkpoint is there, and resumes it."""
    commands.workplace(folder)
    checkpoints = folder / "mlruns" / "checkpoints"
    commands.run(folder, "train", *words, until=lambda: any(checkpoints.glob("*/last.ckpt")), OMP_NUM_THREADS="1")
    return trained(folder, *words, "--resume", newest(folder).info.run_id)


def difference(a: Run, b: Run, within: float = 0) -> str:
    """Returns the first metric that differs by more than a share of it; without a share, also predictions.csv counts."""
    ours, theirs = ({k: v for k, v in run.data.metrics.items() if not CHANGING.match(k)} for run in (a, b))
    if ours.keys() != theirs.keys():
        return f"metrics of one run alone: {', '.join(sorted(ours.keys() ^ theirs.keys())[:3])}"
    for name, value in ours.items():
        if not (value == theirs[name] or value != value or abs(value - theirs[name]) <= within * abs(value)):
            return f"{name} is {value!r} and {theirs[name]!r}"
    files = [Path(run.info.artifact_uri.removeprefix("file://")) / "predictions.csv" for run in (a, b)]
    return "" if within or files[0].read_bytes() == files[1].read_bytes() else "predictions.csv differs"


def _ranks(work: Path) -> Row:
    """Compares one process with two, of a network without batch norm and dropout, whose figures do not depend on it."""
    plain = ("model.norm=group", "model.dropout=0", "fit.precision=32")
    words = ("demo_small_cnn", *DEMO, *EPOCHS, SAMPLES, *plain)
    one, folder = trained(work / "one", *words), commands.workplace(work / "two")
    # Lightning starts the second rank by the command line of the first
    command = [sys.executable, "-m", "emotion_lightning", "train", *words, "fit.devices=2"]
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environment = {**inherited, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, timeout=600)
    two, names = newest(folder), ("test/loss", "loss/val", "loss/train")
    for run in (one, two):
        run.data._metrics = {name: run.data.metrics[name] for name in names}
    off = max(abs(one.data.metrics[n] / two.data.metrics[n] - 1) for n in names)
    return Row(
        "one rank and two, within 0.1 %", len(names), tuple(filter(None, [difference(one, two, 1e-3)])), f"{off:.1e}"
    )


def _written(label: str, work: Path, make: Callable[[Path, int], dict[str, bytes]]) -> Row:
    first, second = (make(work / f"{label.split()[0]}-{number}", number) for number in (1, 2))
    faults = tuple(f"{name} differs" for name in first if first[name] != second.get(name))
    return Row(label, len(first), faults, ", ".join(first))


def _study(folder: Path, jobs: int) -> dict[str, bytes]:
    experiments.write(folder, experiments.LITTLE)
    ended = commands.run(folder, "study", "little", "--jobs", str(jobs), OMP_NUM_THREADS="1")
    if ended.status != 0:
        raise RuntimeError(ended.printed[-2000:])
    report = folder / "reports" / "little"
    return {name: (report / name).read_bytes() for name in ("table.csv", "table.tex", "confusions.png")}


def _search(folder: Path, number: int) -> dict[str, bytes]:
    folder.mkdir()
    ended = commands.run(folder, "tune", "demo_svm", *DEMO, "--trials", "4", "--inner", "2", OMP_NUM_THREADS="1")
    if ended.status != 0:
        raise RuntimeError(ended.printed[-2000:])
    file = folder / "experiments" / "demo_svm_tuned.yaml"
    predicted = trained(folder, "demo_svm_tuned").info.artifact_uri.removeprefix("file://")
    text = re.sub(r"(?m)^#.*$", "", file.read_text(encoding="utf-8"))  # the comment names the run of the search
    return {file.name: text.encode(), "its predictions.csv": (Path(predicted) / "predictions.csv").read_bytes()}
