"""Writes the report of a study: Markdown, CSV, LaTeX, figures, and one HTML page that needs no other file."""

import base64
import io
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib
from filelock import FileLock
from jinja2 import Environment, StrictUndefined

from emotion_lightning.data.filesystem import replacing_files_of
from emotion_lightning.figure import Figure
from emotion_lightning.report import figures as study_figures
from emotion_lightning.report import formats, groups, tables
from emotion_lightning.report.collect import Results
from emotion_lightning.report.ensembles import collect
from emotion_lightning.report.summary import Row, pairs, rows
from emotion_lightning.tracking import store

TABLE_NOTE = (
    "In %: mean ± standard deviation over runs [95 % interval]. The interval covers the choice of test speakers (2000 resamples "
    "of the speakers of all test clips), not the training seeds. It is left out for fewer than four speakers, and is too narrow "
    "with five. UAR: unweighted average recall, the mean recall of all classes. ECE: expected calibration error, and in "
    "brackets the value that a perfectly calibrated model with the same probabilities would have on as many clips."
)
PAIR_NOTE = (
    "Differences of UAR in percentage points, on the runs that both arms have. The first interval resamples speakers. McNemar's "
    "exact test uses each clip once (in its first run) and assumes that clips are independent; Holm's correction counts all "
    "pairs of this table. The last interval is Nadeau and Bengio's over folds and seeds (at least three). It is corrected for "
    "the training clips that folds share."
)


def write(name: str, folder: Path) -> tuple[Results, list[Row]]:
    """Writes the report of a study from MLflow into `folder`: report.md, table.csv, table.tex, index.html and the figures.

    Raises: UserError where the study has not been run.
    """
    results = collect(name)
    lines = rows(results)
    lock = store.ROOT / "studies" / f"{name}.report.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock), replacing_files_of(folder) as part:  # of two at once, each writes whole files
        _write(results, lines, part)
    return results, lines


def _write(results: Results, lines: list[Row], folder: Path) -> None:
    drawn = {
        "overview": study_figures.overview(lines, results.plan.protocols),
        "loss_gaps": study_figures.loss_gaps(results),
        "confusions": study_figures.confusions(results),
    }
    for stem, figure in drawn.items():
        if figure:
            figure.savefig(folder / f"{stem}.png", dpi=150)
    texts = _texts(results, lines)
    images = {stem: _inline(figure) if figure else "" for stem, figure in drawn.items()}
    template = files("emotion_lightning.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    page = environment.from_string(template).render(**texts, images=images)
    (folder / "table.csv").write_text(formats.long_csv(lines), encoding="utf-8")
    (folder / "table.tex").write_text(formats.latex(texts["main"]), encoding="utf-8")
    (folder / "report.md").write_text(_markdown(texts), encoding="utf-8")
    (folder / "index.html").write_text(page, encoding="utf-8")


def _texts(results: Results, lines: list[Row]) -> dict[str, Any]:
    """Returns the texts and tables of the page and the Markdown, by name."""
    plan = results.plan
    changes = f' SET="{" ".join(plan.overrides)}"' if plan.overrides else ""
    return {
        "name": plan.name,
        "command": plan.command or f"make study STUDY={plan.name}" + changes,
        "title": ("DEMO · " if plan.demo else "") + f"Study {plan.name}",
        "about": plan.about,
        "demo": plan.demo,
        "provenance": _provenance(results),
        "protocols": [(f"{p} (LEAKY)" if p in plan.leaky else p, _protocol(results, p)) for p in plan.protocols],
        "data_notes": tables.data_notes(results),
        "main": tables.main_table(lines),
        "table_note": TABLE_NOTE,
        "notes": tables.claim_notes(lines),
        "others": tables.others_table(results),
        "gaps": tables.gap_table(results),
        "pairs": tables.pair_table(pairs(results)),
        "pair_note": PAIR_NOTE,
        "recall": tables.recall_table(lines),
        "by_group": groups.group_table(lines),
        "group_note": groups.NOTE,
        "speed": tables.speed_table(lines),
    }


def _protocol(results: Results, protocol: str) -> str:
    """Returns a sentence such as "100 % of the test speakers of a run were trained on: …"."""
    if protocol in results.plan.leaky:
        return "rows made from one clip are in both training and test: a mistake rebuilt on purpose, not a measure of the model"
    known = results.known_speakers(protocol)
    if not known:
        done = any(group.finished for group in results.under(protocol))
        reason = "its runs are from a version that did not log it" if done else "no run has finished"
        return f"how many test speakers were trained on is unknown: {reason}"
    share = sorted(round(100 * trained / speakers) for trained, speakers in known)
    if share[-1] == 0:
        return "no test speaker of any run was trained on: the scores are for unseen speakers"
    some = f"{share[0]} %" if share[0] == share[-1] else f"{share[0]} to {share[-1]} %"
    return f"{some} of the test speakers of a run were trained on: the scores are for known speakers"


def _provenance(results: Results) -> str:
    """Returns the runs, dates, machines and commits behind the figures."""
    done = [finished.run for group in results.groups.values() for finished in group.finished]
    planned = sum(group.planned for group in results.groups.values())
    days = sorted({datetime.fromtimestamp(run.info.end_time / 1000, UTC).date().isoformat() for run in done})
    machines = {_machine(run.data.tags) for run in done}
    commits = {run.data.tags.get("mlflow.source.git.commit", "")[:7] for run in done} - {""}
    when = f", {' to '.join(dict.fromkeys([days[0], days[-1]]))}" if days else ""
    source = f"at commit {', '.join(sorted(commits))}" if commits else "outside git"
    where = f"; {', '.join(sorted(machines))}; source {source}" if done else ""
    changed = f' Run with SET="{" ".join(results.plan.overrides)}".' if results.plan.overrides else ""
    sets = results.clip_sets()
    mixed = f" ATTENTION: the runs used {sets} different sets of clips of the same corpora." if sets > 1 else ""
    return f"{len(done)} of {planned} runs have finished{when}{where}.{changed}{mixed}"


def _machine(tags: Mapping[str, str]) -> str:
    device = tags.get("machine/device", "cpu")
    count = tags.get("machine/cores", "?")
    cores = f"{count} core{'s' * (count != '1')} of {tags.get('machine/cpu', 'a processor')}"
    return cores if device == "cpu" else f"{device} with {cores}"


def _markdown(texts: Mapping[str, Any]) -> str:
    parts = [f"# {texts['title']}", texts["about"], texts["provenance"]]
    parts.append("\n".join(f"- `{name}`: {text}" for name, text in texts["protocols"]))
    if texts["data_notes"]:
        parts += ["Notes on the clips:", "\n".join(f"- {note}" for note in texts["data_notes"])]
    parts += [formats.markdown(texts["main"]), texts["table_note"], "\n".join(f"- {note}" for note in texts["notes"])]
    for title, key, note in (
        ("Missing runs", "gaps", ""),
        ("Is one arm better than another?", "pairs", texts["pair_note"]),
        ("Published for other models on these corpora", "others", ""),
        ("Recall of each emotion, %", "recall", ""),
        ("UAR by group, %", "by_group", texts["group_note"]),
        ("Time", "speed", ""),
    ):
        if texts[key][1]:
            parts += [f"## {title}", formats.markdown(texts[key]), note]
    parts.append(f"`{texts['command']}` runs what is missing. `make report STUDY={texts['name']}` writes this again.")
    return "\n\n".join(part for part in parts if part) + "\n"


def _inline(figure: Figure) -> str:
    """Returns the figure as a data: address of an SVG whose text stays text."""
    out = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": "report"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(out.getvalue()).decode()
