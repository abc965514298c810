"""Experiments and studies of seconds on generated voices, as the trees of their YAML files, by the file's name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

Tree = dict[str, Any]

VOICES = "corpora.demo={speakers: 4, takes: 1}"
"""An override that makes a shipped experiment short."""

NETWORK: Tree = {
    "corpora": {"demo": {"speakers": 4, "takes": 1}},
    "protocol": {"name": "speaker_folds", "folds": 2, "val_folds": 2},
    "features": {"name": "mfcc", "frames": 64},
    "model": {"name": "small_cnn", "width": 8},
    "data": {"batch_size": 16},
    "fit": {"stages": {"main": {"epochs": 3}}, "precision": "32", "gap_clips": 32},
}
SVM: Tree = {
    **NETWORK,
    "model": {"name": "svm"},
    "data": {},
    "fit": {},
    "search": {"model.C": {"low": 0.1, "high": 10, "log": True}},
}
PAIR: Tree = {"arms": {"vectors": None, "net": None}, "protocols": {"speaker_folds": {"folds": 2}}}
PAIRED: dict[str, Tree] = {"net": NETWORK, "vectors": SVM, "studies/pair": PAIR}

LONGER: Tree = {
    **NETWORK,
    "data": {"batch_size": 16, "samples": 2},
    "fit": {**NETWORK["fit"], "stages": {"main": {"epochs": 4}}},
}
SEARCHED: dict[str, Tree] = {
    "network": LONGER,
    "searched": {
        "base": "network",
        "search": {"model.width": [4, 8], "fit.stages.main.lr": {"low": 1e-4, "high": 1e-2, "log": True}},
    },
    "estimator": {
        "base": "network",
        "model": {"name": "svm"},
        "fit": {"stages": {"main": {"epochs": 20}}, "precision": "auto", "gap_clips": 32},
        "search": {"model.C": [0.1, 1.0, 10.0], "model.gamma": {"low": 0.01, "high": 0.1, "log": True}},
    },
    "studies/demo_study": {
        "about": "DEMO, a study of seconds",
        "arms": {"estimator": None, "network": None, "both": {"mean_of": ["estimator", "network"]}},
        "protocols": {"speaker_folds": {"folds": 2}},
    },
}
"""With pictures of clips, searches for each kind of model, and an ensemble."""

LITTLE: dict[str, Tree] = {
    "studies/little": {
        "about": "two models and their mean",
        "arms": {
            "svm": {"experiment": "demo_svm", "set": {"corpora.demo": {"speakers": 4, "takes": 1}}},
            "logistic": {
                "experiment": "demo_svm",
                "set": {"corpora.demo": {"speakers": 4, "takes": 1}, "model": "logistic_search"},
            },
            "both": {"mean_of": ["svm", "logistic"]},
        },
        "protocols": {"random": {}},
    }
}
"""A study of shipped experiments."""


def write(folder: Path, trees: Mapping[str, Tree]) -> None:
    """Writes `experiments/NAME.yaml` of a working folder for each name."""
    for name, tree in trees.items():
        file = folder / "experiments" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
