"""UAR by group of test clips: corpus, sex of the speaker, intensity of the emotion."""

from collections.abc import Sequence

import numpy as np

from emotion_lightning.report.collect import Group
from emotion_lightning.report.summary import FEWEST_SPEAKERS, Row
from emotion_lightning.report.tables import Table, limits
from emotion_lightning.training.metrics import GROUP_FIELDS
from emotion_lightning.training.significance import Tested, by_speaker, interval, score

NOTE = (
    "UAR in % over the test clips of all runs together, with a 95 % interval over speakers (four at least). It is the mean over "
    "the emotions that the group has: RAVDESS, for example, has no strong neutral clip."
)


def group_table(rows: Sequence[Row]) -> Table:
    """Returns UAR and its interval for each group, by arm and protocol; a field with one value has no column."""
    with_runs = [row for row in rows if row.group.finished]
    columns = []
    for field in GROUP_FIELDS:
        values = {value for row in with_runs for f in row.group.finished for value in f.predictions.fields[field]}
        known = sorted(values - {""})
        columns += [(field, value) for value in known] if len(known) > 1 else []
    if not columns:
        return ["arm", "protocol"], []
    lines = [
        [row.group.arm.label, row.group.shown, *(_uar(row.group, field, value) for field, value in columns)]
        for row in with_runs
    ]
    return ["arm", "protocol", *(f"{field}: {value}" for field, value in columns)], lines


def _uar(group: Group, field: str, value: str) -> str:
    tested = group.tested()
    mask = np.concatenate([np.array(f.predictions.fields[field]) == value for f in group.finished])
    if not mask.any():
        return "no clip"
    chosen = Tested(tested.labels[mask], tested.predicted[mask], tested.speakers[mask], tested.classes)
    counts = by_speaker(chosen)
    ends = interval(chosen, "uar") if len(counts) >= FEWEST_SPEAKERS else None
    return f"{100 * float(score(counts.sum(0), 'uar')):.1f}" + (f" {limits(ends)}" if ends else "")
