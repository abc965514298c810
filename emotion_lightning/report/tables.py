"""The tables of a study as text. Shares are in %. No cell is empty: a missing value says so, with the reason."""

import math
from collections import Counter
from collections.abc import Sequence
from textwrap import shorten

from emotion_lightning.report import claims
from emotion_lightning.report.collect import Results
from emotion_lightning.report.summary import NAMES, Figure, Pair, Row
from emotion_lightning.training.significance import METRICS

Table = tuple[list[str], list[list[str]]]  # header, lines


def percent(figure: Figure) -> str:
    """Formats a figure as "57.3 ± 4.1 [52.0, 61.9]", without the deviation for one run, without the interval for one speaker."""
    spread = "" if math.isnan(figure.std) else f" ± {100 * figure.std:.1f}"
    return f"{100 * figure.mean:.1f}{spread}" + (f" {limits(figure.interval)}" if figure.interval else "")


def limits(interval: tuple[float, float]) -> str:
    """Formats an interval as "[52.0, 61.9]"."""
    return f"[{100 * interval[0]:.1f}, {100 * interval[1]:.1f}]"


def signed(value: float) -> str:
    """Formats a difference as "+3.2" percentage points."""
    shown = f"{100 * value:+.1f}"
    return "0.0" if shown[1:] == "0.0" else shown.replace("-", "−")


def runs(row: Row) -> str:
    """Formats the number of runs as "5", or as "1 of 3" if some are missing."""
    done, planned = len(row.group.finished), row.group.planned
    return f"{done}" if done == planned else f"{done} of {planned}"


def published(row: Row) -> str:
    """Formats published figures as "acc. 51.7, F1 50.9*"; the star marks figures that are not comparable."""
    short = {"accuracy": "acc.", "f1": "F1", "uar": "UAR"}
    if not row.claims:
        return "none"
    star = "*" if any(claims.differs(claim, row.group.protocol) for claim in row.claims) else ""
    return ", ".join(f"{short[c.metric]} {100 * c.value:.1f}" for c in row.claims) + star


def _first_reason(row: Row) -> str:
    """Returns the first reason, shortened; the table of missing runs has all of them in full."""
    return f"missing: {shorten(row.reasons()[0].partition(' (')[0], 90)}"


def main_table(rows: Sequence[Row]) -> Table:
    """Returns the main table; its last columns are ECE and published."""
    header = ["arm", "protocol", "runs", *(NAMES[m] for m in METRICS), "ECE (if calibrated)", "published"]
    lines = []
    for row in rows:
        figures = (
            [percent(row.figures[m]) for m in METRICS] if row.figures else [_first_reason(row), "missing", "missing"]
        )
        ece = f"{100 * row.ece:.1f} ({100 * row.ece_if_calibrated:.1f})" if row.figures else "missing"
        lines.append([row.group.arm.label, row.group.shown, runs(row), *figures, ece, published(row)])
    return header, lines


def pair_table(pairs: Sequence[Pair]) -> Table:
    """Returns the table of paired tests."""
    header = ["arm", "against", "protocol", "runs", "UAR difference, 95 % interval over speakers", "clips only the arm has right",
              "clips only the other has right", "McNemar p (Holm)", "UAR difference over folds, 95 % interval"]  # fmt: skip
    lines = []
    for p in pairs:
        pooled = f"{signed(p.uar[0])} [{signed(p.uar[1])}, {signed(p.uar[2])}]" if p.uar else "too few speakers"
        folds = "too few folds"
        if p.folds:
            folds = f"{signed(p.folds.mean)} [{signed(p.folds.low)}, {signed(p.folds.high)}], n = {p.folds.folds}"
        counts = [str(p.mcnemar.only_a), str(p.mcnemar.only_b)]
        lines.append([p.a, p.b, p.protocol, str(p.runs), pooled, *counts, p_value(p.adjusted), folds])
    return header, lines


def p_value(p: float) -> str:
    """Formats a p value."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def recall_table(rows: Sequence[Row]) -> Table:
    """Returns the recall of each class in %, over all runs of an arm under a protocol."""
    with_runs = [row for row in rows if row.group.finished]
    classes = list(dict.fromkeys(c for row in with_runs for c in row.group.classes))
    lines = []
    for row in with_runs:
        tested = row.group.tested()
        shares = []
        for name in classes:
            label = row.group.classes.index(name) if name in row.group.classes else -1
            correct = (tested.predicted == tested.labels)[tested.labels == label]
            shares.append(f"{100 * correct.mean():.0f}" if len(correct) else "no clip")
        lines.append([row.group.arm.label, row.group.shown, *shares])
    return ["arm", "protocol", *classes], lines


def speed_table(rows: Sequence[Row]) -> Table:
    """Returns the time of a run and the clips per second of each arm and protocol."""
    lines = []
    for row in (row for row in rows if not row.group.arm.mean_of):
        seconds, clips = row.group.metric("seconds"), row.group.metric("clips_per_second")
        if seconds is None:
            continue
        tags = row.group.finished[0].run.data.tags
        machine = f"{tags.get('machine/device', '')}, {tags.get('machine/precision', '')}"
        speed = "not logged" if clips is None else f"{clips:.0f}"
        lines.append([row.group.arm.label, row.group.shown, f"{seconds:.0f}", speed, machine])
    return ["arm", "protocol", "seconds per run", "training clips/s", "machine"], lines


def gap_table(results: Results) -> Table:
    """Returns the cells without a finished run; cells with the same reason share a line."""
    by_reason: dict[tuple[str, str, str], list[str]] = {}
    for group, cell, reason in results.gaps():
        cell_name = f"seed {cell.seed}" if cell.fold is None else f"fold {cell.fold} seed {cell.seed}"
        by_reason.setdefault((group.arm.label, group.shown, reason), []).append(cell_name)
    lines = [[arm, protocol, str(len(cells)), ", ".join(cells[:3]) + (" …" if len(cells) > 3 else ""), reason]
             for (arm, protocol, reason), cells in by_reason.items()]  # fmt: skip
    return ["arm", "protocol", "runs", "which", "why"], lines


def others_table(results: Results) -> Table:
    """Returns published figures of models that are no arm of the study, on the corpora of an arm."""
    own = {arm.experiment for arm in results.plan.arms}
    corpora = {arm.corpora for arm in results.plan.arms}
    others = [c for names in sorted(corpora) for c in claims.select(claims.load(), names) if c.model not in own]
    header = ["model", "corpora", "metric", "%", "speakers", "split", "how", "source"]
    return header, [
        [c.model, "+".join(c.corpora), NAMES[c.metric], f"{100 * c.value:.1f}", c.speakers, c.split, c.how, c.source]
        for c in others
    ]


def data_notes(results: Results) -> list[str]:
    """Returns each note on the clips once, with the protocols and the number of their runs that logged it."""
    runs_by_note: dict[str, Counter[str]] = {}
    for group in results.groups.values():
        for finished in group.finished:
            for note in finished.run.data.tags.get("data/notes", "").splitlines():
                runs_by_note.setdefault(note, Counter())[group.shown] += 1
    lines = []
    for note, runs_by_protocol in runs_by_note.items():
        which = (f"{protocol}: {count} run{'s' * (count > 1)}" for protocol, count in runs_by_protocol.items())
        lines.append(f"{note} ({', '.join(which)})")
    return lines


def claim_notes(rows: Sequence[Row]) -> list[str]:
    """Returns one line for each source and each way in which its figures differ from ours."""
    arms_by_reason: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        for claim in row.claims:
            if why := claims.differs(claim, row.group.protocol):
                arms = arms_by_reason.setdefault((row.group.shown, claim.source, why), [])
                arms += [row.group.arm.label] if row.group.arm.label not in arms else []
    return [
        f"next to {protocol}: {source} ({', '.join(arms)}): {why}"
        for (protocol, source, why), arms in arms_by_reason.items()
    ]
