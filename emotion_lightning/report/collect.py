"""Collects the results of a study from MLflow: finished and missing cells, predictions, loss curves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from emotion_lightning.studies import state
from emotion_lightning.studies.plan import Plan, PlannedArm, PlannedCell
from emotion_lightning.tracking import run as tracking
from emotion_lightning.tracking import store
from emotion_lightning.training import metrics
from emotion_lightning.training.predictions import Predictions, read_predictions
from emotion_lightning.training.significance import Tested

CURVES = ("loss/train", "loss/val")
Curves = dict[str, list[tuple[int, float]]]


@dataclass(frozen=True)
class Finished:
    """A finished cell. `scores` are those of the test split; `curves` holds (epoch, value) by metric.

    An ensemble has the run of its first member, which has the same data.
    """

    cell: PlannedCell
    run: Run
    predictions: Predictions
    scores: dict[str, float]
    curves: Curves


@dataclass(frozen=True)
class Group:
    """One arm under one protocol: its finished runs in the order of the study, and the reasons of the missing ones."""

    arm: PlannedArm
    protocol: str
    finished: list[Finished] = field(default_factory=list)
    missing: list[tuple[PlannedCell, str]] = field(default_factory=list)
    leaky: bool = False

    @property
    def shown(self) -> str:
        """The name of the protocol in tables and figures."""
        return f"{self.protocol} (LEAKY)" if self.leaky else self.protocol

    @property
    def planned(self) -> int:
        return len(self.finished) + len(self.missing)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.finished[0].predictions.classes

    def tested(self) -> Tested:
        """Returns the test clips of all finished runs."""
        return pooled([finished.predictions for finished in self.finished])

    def metric(self, name: str) -> float | None:
        """Returns the mean of an MLflow metric over the runs that have it; None if none has."""
        values = [f.run.data.metrics[name] for f in self.finished if name in f.run.data.metrics]
        return float(np.mean(values)) if values else None


def pooled(runs: Sequence[Predictions]) -> Tested:
    """Returns the test clips of several runs, one run after the other."""
    return Tested(
        np.concatenate([p.labels for p in runs]),
        np.concatenate([p.predicted for p in runs]),
        np.concatenate([np.array(p.speakers) for p in runs]),
        len(runs[0].classes),
    )


@dataclass(frozen=True)
class Results:
    """The results of a study."""

    parent: Run
    plan: Plan
    groups: dict[tuple[str, str], Group]  # by (arm, protocol), of the arms that have runs
    ensembles: dict[tuple[str, str], Group] = field(default_factory=dict)  # of the other arms

    def group(self, arm: str, protocol: str) -> Group | None:
        """Returns the group of an arm under a protocol; None if the arm was not run under it."""
        return self.groups.get((arm, protocol)) or self.ensembles.get((arm, protocol))

    def under(self, protocol: str) -> list[Group]:
        """Returns the groups of a protocol, in the order of the study's arms."""
        groups = (self.group(arm.name, protocol) for arm in self.plan.arms)
        return [group for group in groups if group]

    def gaps(self) -> Iterator[tuple[Group, PlannedCell, str]]:
        """Yields each cell without a finished run, with the reason."""
        for group in self.groups.values():
            for cell, reason in group.missing:
                yield group, cell, reason

    def known_speakers(self, protocol: str) -> list[tuple[int, int]]:
        """Returns (test speakers that were trained on, test speakers) of each run that logged them, sorted."""
        logged = [f.run.data.metrics for group in self.under(protocol) for f in group.finished]
        return sorted(
            (int(m["test/speakers_trained_on"]), int(m["test/speakers"])) for m in logged if "test/speakers" in m
        )

    def clip_sets(self) -> int:
        """Returns how many different sets of clips runs on the same corpora used, at most."""
        digests: dict[str, set[str]] = {}
        for group in self.groups.values():
            for tags in (f.run.data.tags for f in group.finished):
                if "data/clips" in tags:
                    digests.setdefault(tags.get("corpora", ""), set()).add(tags["data/clips"])
        return max((len(different) for different in digests.values()), default=0)


def collect_runs(name: str) -> Results:
    """Collects the runs of a study from MLflow, without its ensembles.

    Raises: UserError where the study has not been run.
    """
    client = store.connect()
    tracking.sweep(client)
    parent, plan = state.read_plan(client, name)
    states = state.states(client, (cell.signature for cell in plan.cells))
    arms = {arm.name: arm for arm in plan.arms}
    groups: dict[tuple[str, str], Group] = {}
    for cell in plan.cells:
        empty = Group(arms[cell.arm], cell.protocol, leaky=cell.protocol in plan.leaky)
        group = groups.setdefault((cell.arm, cell.protocol), empty)
        cell_state = states[cell.signature]
        if cell_state.status == "finished" and cell_state.run:
            group.finished.append(read_run(client, cell, cell_state.run))
        else:
            group.missing.append((cell, cell.reason or cell_state.reason or "not run yet"))
    return Results(parent, plan, groups)


def read_run(client: MlflowClient, cell: PlannedCell, run: Run) -> Finished:
    """Reads the predictions and loss curves of a finished run.

    Raises: UserError where the run has no predictions.csv.
    """
    curves = {n: [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, n)] for n in CURVES}
    return scored(cell, run, read_predictions(run), curves)


def scored(cell: PlannedCell, run: Run, predictions: Predictions, curves: Curves) -> Finished:
    """Returns the finished cell with the scores of its predictions."""
    probabilities = torch.from_numpy(predictions.probabilities)
    scores = metrics.scores(torch.from_numpy(predictions.labels), probabilities)
    scores["ece_if_calibrated"] = metrics.ece_if_calibrated(probabilities)
    return Finished(cell, run, predictions, scores, curves)
