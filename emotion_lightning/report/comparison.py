"""Pairs two runs, or two arms of a study, for the paired tests of `make compare`."""

import re
from contextlib import suppress

from mlflow.exceptions import MlflowException

from emotion_lightning.errors import UserError, nearest
from emotion_lightning.report.collect import Group, read_run
from emotion_lightning.report.ensembles import collect
from emotion_lightning.report.summary import Pair, compare, with_holm
from emotion_lightning.studies import state
from emotion_lightning.studies.plan import PlannedArm, PlannedCell
from emotion_lightning.tracking import store


def paired(a: str, b: str, study: str | None = None) -> list[Pair]:
    """Compares `a` with `b`: two finished runs by their ids (or the beginning of them), or two arms of a study by their names.

    Arms are compared under each protocol. The study can be left out if only one has both arms.

    Raises: UserError for unknown runs and arms, and where nothing was tested on the same clips.
    """
    if a == b:
        raise UserError(f"A and B are the same, {a}; name another run or arm")
    study = study or _study_of(a, b)
    if study is None:
        groups = [(_single(a), _single(b))]
    else:
        results = collect(study)
        names = [arm.name for arm in results.plan.arms]
        for arm in (a, b):
            if arm not in names:
                raise UserError(f"study {study} has no arm '{arm}'{nearest(arm, names)}")
        both = [(results.group(a, p), results.group(b, p)) for p in results.plan.protocols]
        groups = [(x, y) for x, y in both if x and y and x.finished and y.finished]
    pairs = [pair for pair in (compare(x, y) for x, y in groups) if pair]
    if not pairs:
        raise UserError(
            f"{a} and {b} have no finished runs that tested the same clips, so there is nothing to compare"
        )
    return with_holm(pairs)


def _study_of(a: str, b: str) -> str | None:
    """Returns the name of the one study with both arms; None if neither is an arm of any study."""
    client = store.connect()
    names = sorted({r.data.tags["study"] for r in store.runs(client, "tags.kind = 'study'")})
    plans = []
    for name in names:
        with suppress(MlflowException, UserError):  # a study that was killed before it had a plan
            plans.append(state.read_plan(client, name)[1])
    arms = {arm.name for plan in plans for arm in plan.arms}
    for name in (a, b):
        if name not in arms and not re.fullmatch("[0-9a-f]{4,32}", name):
            raise UserError(
                f"'{name}' is not the id of a run, and no study that was run has an arm of that name{nearest(name, arms)}"
            )
    matching = [plan.name for plan in plans if {a, b} <= {arm.name for arm in plan.arms}]
    if not matching and {a, b} & arms:
        raise UserError(f"no study has both arms, {a} and {b}; two runs can be compared by their ids")
    if len(matching) > 1:
        raise UserError(f"several studies have arms {a} and {b}; STUDY= selects one: {', '.join(matching)}")
    return matching[0] if matching else None


def _single(run_id: str) -> Group:
    """Returns a single run as an arm with one cell."""
    client = store.connect()
    run = store.find_run(client, run_id)
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
