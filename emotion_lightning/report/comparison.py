"""Two runs, or two arms of a study, for the paired tests alone."""

import re
from contextlib import suppress

from mlflow.exceptions import MlflowException
from pydantic import ValidationError

from emotion_lightning.errors import UserError, nearest
from emotion_lightning.report.collect import Group, collect, read_run
from emotion_lightning.report.summary import Pair, compare, with_holm
from emotion_lightning.studies import state
from emotion_lightning.studies.plan import PlannedArm, PlannedCell
from emotion_lightning.tracking import store


def paired(a: str, b: str, study: str | None = None) -> list[Pair]:
    """`a` against `b`: ids of finished runs (or the beginning of them) that tested the same clips; with a study, or where
    only one has both, names of its arms, under each protocol."""
    study = study or _study_of(a, b)
    if study is None:
        groups = [(_single(a), _single(b))]
    else:
        results = collect(study)
        names = [arm.name for arm in results.plan.arms]
        for arm in (a, b):
            if arm not in names:
                raise UserError(f"study {study} has no arm '{arm}'{nearest(arm, names)}")
        both = [(results.groups.get((a, p)), results.groups.get((b, p))) for p in results.plan.protocols]
        groups = [(x, y) for x, y in both if x and y and x.finished and y.finished]
    if not (found := [pair for x, y in groups if (pair := compare(x, y))]):
        raise UserError(f"{a} and {b} have no finished runs that tested the same clips, so there is nothing to pair")
    return with_holm(found)


def _study_of(a: str, b: str) -> str | None:
    """The one study that has arms of these names; None if neither is an arm of any."""
    client = store.connect()
    names, plans = sorted({r.data.tags["study"] for r in store.runs(client, "tags.kind = 'study'")}), []
    for name in names:
        with suppress(MlflowException, ValidationError, UserError):  # one that was killed before it had a plan
            plans.append(state.read_plan(client, name)[1])
    arms = {arm.name for plan in plans for arm in plan.arms}
    for name in (a, b):
        if name not in arms and not re.fullmatch("[0-9a-f]{4,32}", name):
            raise UserError(
                f"'{name}' is no run's id, and no study that was run has an arm of that name{nearest(name, arms)}"
            )
    having = [plan.name for plan in plans if {a, b} <= {arm.name for arm in plan.arms}]
    if not having and {a, b} & arms:
        raise UserError(f"no study has both arms, {a} and {b}; two runs can be compared by their ids")
    if len(having) > 1:
        raise UserError(f"several studies have arms {a} and {b}; STUDY= says which: {', '.join(having)}")
    return having[0] if having else None


def _single(run_id: str) -> Group:
    """A run as an arm of its own, with one cell."""
    client = store.connect()
    run = store.find(client, run_id)
    if run.info.status != "FINISHED":
        raise UserError(f"run {run_id} is {run.info.status}; only finished runs can be compared")
    tags = run.data.tags
    label = f"{tags.get('experiment', 'run')} {run.info.run_id[:8]}"
    corpora = tuple(tags.get("corpora", "").split("+"))
    arm = PlannedArm(
        name=run.info.run_id, label=label, about="", experiment=tags.get("experiment", ""), corpora=corpora
    )
    cell = PlannedCell(arm=arm.name, protocol=tags.get("protocol", ""), fold=None, seed=0, signature="")
    return Group(arm, cell.protocol, [read_run(client, cell, run)])
