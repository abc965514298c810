"""Searches of settings on a small DEMO corpus: the experiments, a folder for them, and what a search left there."""

from pathlib import Path

import optuna
import processes
import yaml
from mlflow.entities import Run
from rich.console import Console

from emotion_lightning.tracking import store
from emotion_lightning.training.build import build_data
from emotion_lightning.tuning import storage
from emotion_lightning.tuning.request import make_request
from emotion_lightning.tuning.search import search
from emotion_lightning.tuning.winner import Winner

SVM = {
    "corpora": {"demo": {"speakers": 4, "takes": 1}},
    "protocol": {"name": "speaker_folds", "folds": 3},
    "features": {"name": "mfcc", "frames": 64},
    "model": {"name": "svm", "C": 1e-6},  # one emotion for all clips: UAR 1/8
    "fit": {"refit": True, "log_model": False},
    "search": {"model.C": [1e-6, 1.0], "model.gamma": {"low": 0.01, "high": 0.1, "log": True}},
}
NETWORK = {
    "corpora": {"demo": {"speakers": 4, "takes": 1}},
    "protocol": {"name": "speaker_folds", "folds": 3},
    "features": {"name": "picture", "height": 32, "width": 32},
    "augment": {"mixup": {}},
    "model": {"name": "small_cnn", "width": 8},
    "data": {"batch_size": 16},
    "fit": {"stages": {"main": {"epochs": 3}}, "gap_clips": 32, "precision": "32"},
    "search": {"fit.stages.main.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "augment.mixup": [True, False]},
}


def prepare(folder: Path, cache: Path) -> None:
    """Gives a working folder an empty store and the experiments `s` (an SVM) and `n` (a network)."""
    processes.copy_ready_store(folder)
    (folder / "experiments").mkdir()
    for name, tree in (("s", SVM), ("n", NETWORK)):
        tree = {**tree, "data": {**tree.get("data", {}), "cache": str(cache)}}
        (folder / "experiments" / f"{name}.yaml").write_text(yaml.safe_dump(tree, sort_keys=False))


def quiet(name: str, trials: int, *overrides: str, folds: int = 3) -> Winner:
    return search(make_request(name, overrides, trials, folds), Console(quiet=True))


def study_of(name: str, *overrides: str) -> optuna.Study:
    request = make_request(name, overrides, 1)
    data = build_data(request.experiment, Console(quiet=True))
    return storage.open_study(storage.study_name(request, data), request)


def values(study: optuna.Study) -> list[dict[str, object]]:
    """The settings of the trials that count, in order."""
    return [trial.user_attrs["values"] for trial in storage.finished(study)]


def children(parent: Run) -> list[Run]:
    found = store.runs(store.connect(), f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    return sorted(found, key=lambda run: int(run.data.tags["trial/number"]))


def parents() -> list[Run]:
    return list(store.runs(store.connect(), "tags.kind = 'tuning'"))
