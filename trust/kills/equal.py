"""How a folder whose command was killed and started again differs from that of an unbroken command."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import yaml

from trust import moments, places
from trust.kills.half import cached

TRIALS = 4  # of each search


def equal_runs(folder: Path, whole: Path) -> Iterator[str]:
    """Yields how the finished runs differ from those of the unbroken command."""
    statuses = Counter(places.runs(folder).values())
    if statuses != Counter(places.runs(whole).values()):
        yield f"at the end: {dict(statuses)}"
    if places.figures(folder) != places.figures(whole):
        ours, theirs = dict(places.figures(folder)), dict(places.figures(whole))
        different = [name for name in sorted({*ours, *theirs}) if ours.get(name) != theirs.get(name)]
        yield f"other figures: {different[:3]}" if different else "figures are there twice"
    if _logged(folder) != _logged(whole):
        yield f"other epochs: {sorted(set(_logged(folder)) ^ set(_logged(whole)))[:2]}"
    for counted in (
        "inputs WHERE destination_type = 'RUN'",
        "logged_models WHERE lifecycle_stage = 'active'",
        "params",
    ):
        counts = [places.rows(place, f"SELECT COUNT(*) FROM {counted}")[0][0] for place in (folder, whole)]
        if counts[0] != counts[1]:
            yield f"{counts[0]} {counted.partition(' ')[0]}, not {counts[1]}"
    live = "SELECT model_id FROM logged_models WHERE lifecycle_stage = 'active' AND status != 2"
    if unready := places.rows(folder, live):
        yield f"models that are not ready: {len(unready)}"
    if (ours_files := _artifacts(folder)) != (theirs_files := _artifacts(whole)):
        yield f"other artifacts: {sorted((ours_files - theirs_files) + (theirs_files - ours_files))[:3]}"


def _logged(folder: Path) -> list[tuple[str, int, float]]:
    """Returns (metric, epoch, value) of the finished runs."""
    finished = {run for run, status in places.runs(folder).items() if status == "FINISHED"}
    return sorted(row[:3] for row in places.epochs(folder) if row[4] in finished)


def _artifacts(folder: Path) -> Counter[str]:
    """Returns the names of all artifacts, with the digests of the tables."""
    found = Counter[str]()
    for name, digest in places.files(folder / "mlruns" / "artifacts").items():
        if name.endswith("registered_model_meta") or ".artifact.uploading." in name:
            continue  # written when a model is read; left by a kill amid a copy, which MLflow never shows
        plain = moments.NUMBERS.sub("*", name)
        found[f"{plain} {digest}" if name.endswith("predictions.csv") else plain] += 1
    return found


def equal_caches(folder: Path, whole: Path) -> Iterator[str]:
    """Yields how the runs and the caches differ."""
    yield from equal_runs(folder, whole)
    if cached(folder) != cached(whole):
        yield "other caches"


def equal_studies(folder: Path, whole: Path) -> Iterator[str]:
    """Yields how the runs, the report and the study's own run differ."""
    yield from equal_runs(folder, whole)
    ours, theirs = (places.files(place / "reports" / "demo_study") for place in (folder, whole))
    if ours.keys() != theirs.keys() or any(ours[name] != theirs[name] for name in ("table.csv", "table.tex")):
        yield f"another report: {sorted(name for name in ours if ours[name] != theirs.get(name))}"
    own = "SELECT status FROM runs JOIN tags USING (run_uuid) WHERE key = 'kind' AND tags.value = 'study'"
    if (status := places.rows(folder, own)) != [("FINISHED",)]:
        yield f"the study's own run: {status}"
    logged = {
        name.rpartition("/")[2]: digest
        for name, digest in places.files(folder / "mlruns").items()
        if "/artifacts/report/" in name
    }
    if logged != {name.rpartition("/")[2]: digest for name, digest in ours.items()}:
        yield "the logged report is not that of reports/"


def equal_searches(folder: Path, whole: Path) -> Iterator[str]:
    """Yields how the trials, their runs, the search's own run and the experiment file differ."""
    for query in (
        "SELECT param_name, param_value FROM trial_params JOIN trials USING (trial_id) WHERE state = 'COMPLETE'",
        "SELECT value FROM trial_values ORDER BY 1",
    ):
        found = [sorted(places.rows(place, query, "tuning.db")) for place in (folder, whole)]
        if found[0] != found[1]:
            yield f"other trials: {found[0]} for {found[1]}"
    states = Counter(state for (state,) in places.rows(folder, "SELECT state FROM trials", "tuning.db"))
    if states["RUNNING"] or states["WAITING"] or states["COMPLETE"] + states["PRUNED"] != TRIALS:
        yield f"trials: {dict(states)}"
    ends = "SELECT status, tags.value FROM runs JOIN tags USING (run_uuid) WHERE key = 'trial/state'"
    found_ends = Counter(places.rows(folder, ends))
    if wrong := set(found_ends) - {("FINISHED", "complete"), ("FINISHED", "pruned"), ("KILLED", "killed")}:
        yield f"runs of trials: {sorted(wrong)}"
    if sum(count for (status, _), count in found_ends.items() if status == "FINISHED") != TRIALS:
        yield f"runs of trials: {dict(found_ends)}"
    own = "FROM runs JOIN tags USING (run_uuid) WHERE key = 'kind' AND tags.value = 'tuning'"
    if (status := places.rows(folder, f"SELECT status {own}")) != [("FINISHED",)]:
        yield f"the search's own run: {status}"
    count = f"SELECT COUNT(*) FROM params WHERE run_uuid IN (SELECT run_uuid {own})"
    if places.rows(folder, count) != places.rows(whole, count):
        yield "the search's own run lacks settings"
    texts = [
        (place / "experiments" / f"{name}_tuned.yaml")
        for place in (folder, whole)
        for name in ("searched", "estimator")
    ]
    read = [yaml.safe_load(file.read_text()) for file in texts if file.exists()]
    if len(read) != 2 or read[0] != read[1]:
        yield f"another experiment file: {read}"
    if any((folder / "mlruns" / "checkpoints").glob("*/inner*")):
        yield "checkpoints of a trial are left"
