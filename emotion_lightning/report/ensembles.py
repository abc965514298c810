"""The arms of a study that are ensembles: on each test split, the mean probability over other arms and their seeds.

Each arm counts equally, however many seeds it has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from emotion_lightning.report.collect import Finished, Group, Predictions, Results, collect_runs, scored
from emotion_lightning.studies.plan import Plan, PlannedArm

Groups = Mapping[tuple[str, str], Group]
"""By (arm, protocol)."""


def collect(name: str) -> Results:
    """Collects the results of a study from MLflow, and computes its ensembles.

    Raises: UserError where the study has not been run.
    """
    results = collect_runs(name)
    return replace(results, ensembles=ensembles(results.plan, results.groups))


def ensembles(plan: Plan, groups: Groups) -> dict[tuple[str, str], Group]:
    """Returns the group of each ensemble under each protocol where every member tested the same clips, in two runs at least."""
    result = {}
    for arm in (arm for arm in plan.arms if arm.mean_of):
        for protocol in plan.protocols:
            members = [groups[name, protocol] for name in arm.mean_of if (name, protocol) in groups]
            if len(members) == len(arm.mean_of) and (group := _ensemble(arm, members)):
                result[arm.name, protocol] = group
    return result


def _ensemble(arm: PlannedArm, members: Sequence[Group]) -> Group | None:
    """Averages the runs that tested the same clips. A fold in which a member has a missing run is missing as well."""
    missing = [gap for member in members for gap in member.missing]
    incomplete = {cell.fold for cell, _ in missing}
    by_clips: dict[tuple[str, ...], list[tuple[Finished, Predictions]]] = {}
    for run in (run for member in members for run in member.finished):
        predictions = run.predictions.in_order()
        by_clips.setdefault((*predictions.classes, "", *predictions.clips), []).append((run, predictions))
    finished = [
        _mean(arm, runs)
        for runs in by_clips.values()
        if len(runs) > 1
        and {run.cell.arm for run, _ in runs} == set(arm.mean_of)
        and runs[0][0].cell.fold not in incomplete
    ]
    if not finished and not missing:
        return None
    return Group(arm, members[0].protocol, finished, missing, members[0].leaky)


def _mean(arm: PlannedArm, runs: Sequence[tuple[Finished, Predictions]]) -> Finished:
    first, predictions = runs[0]
    by_arm: dict[str, list[NDArray[np.float64]]] = {}
    for run, tested in runs:
        by_arm.setdefault(run.cell.arm, []).append(tested.probabilities)
    mean = replace(predictions, probabilities=np.mean([np.mean(seeds, axis=0) for seeds in by_arm.values()], axis=0))
    cell = first.cell.model_copy(update={"arm": arm.name, "signature": ""})
    return scored(cell, first.run, mean, {name: [] for name in first.curves})
