"""Many programs at once in one folder: runs into one store and one cache, studies, reports, and deletions.

The judge counts in the databases and folders with SQL and by name: every run is there once and has finished, its metrics are
those of the same run alone, each cache entry is there once and whole, and no program said that a database was locked.
"""

import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from trust.commands import Command, Ended, figures, run, runs, sound, workplace
from trust.experiments import NETWORK, PAIR, SVM
from trust.rows import Row, Setting

AT_ONCE = 16
ONE_EPOCH = {**NETWORK, "fit": {**NETWORK["fit"], "stages": {"main": {"epochs": 1}}, "log_model": False}}
NO_MODEL = {**SVM, "fit": {"log_model": False}}
EXPERIMENTS = {
    "net": ONE_EPOCH,
    "vectors": NO_MODEL,
    "studies/first": PAIR,
    "studies/second": {**PAIR, "arms": {"net": None, "vectors": None}},
}


def rows(setting: Setting) -> Iterator[Row]:
    """Starts programs together, waits for all, and compares what they left with what one program alone leaves."""
    yield from runs_at_once(setting)
    alone = setting.work / "alone"
    yield _studies(workplace(setting.work / "studies", EXPERIMENTS), alone)
    yield _report_and_prune(workplace(setting.work / "prune", EXPERIMENTS), alone, setting.times(6, least=2))


def runs_at_once(setting: Setting, at_once: int = AT_ONCE) -> Iterator[Row]:
    """Trains both experiments alone, and then many at once in another folder, several times."""
    alone = workplace(setting.work / "alone", EXPERIMENTS)
    for name in ("net", "vectors"):
        assert run(alone, "train", name).status == 0
    wanted = {r.data.tags["experiment"]: figures(r) for r in runs(alone)}
    entries = _entries(alone)
    for number in range(setting.times(2)):
        folder = workplace(setting.work / f"runs-{number}", EXPERIMENTS)
        yield _runs(folder, at_once, wanted, entries, number)


def _runs(folder: Path, count: int, wanted: dict[str, dict[str, float]], entries: Counter[str], number: int) -> Row:
    """Half of the runs train a network, half fit an SVM; the cache is empty, and all fill it."""
    names = ["net", "vectors"] * (count // 2)
    faults = _wrong_ends(_together(folder, [("train", name) for name in names]))
    found = runs(folder)
    by_name = Counter((r.data.tags["experiment"], r.info.status) for r in found)
    if by_name != Counter((name, "FINISHED") for name in names):
        faults.append(f"runs: {dict(by_name)}")
    faults += [
        f"run {r.info.run_id[:8]} has other figures than alone"
        for r in found
        if figures(r) != wanted[r.data.tags["experiment"]]
    ]
    faults += doubled(folder)
    if _entries(folder) != entries:
        faults.append(f"cache: {dict(_entries(folder))}, alone {dict(entries)}")
    return Row(f"{len(names)} runs at once into an empty cache, round {number + 1}", len(names), tuple(faults))


def _studies(folder: Path, alone: Path) -> Row:
    """Two studies with the same cells: each cell is run once in all, and both reports are those of one study alone."""
    words: list[tuple[str, ...]] = [("study", name, "--cache", str(alone / ".cache")) for name in ("first", "second")]
    ended = _together(folder, words)
    faults = [
        f"study: status {e.status}: {e.err[-200:]}" for e in ended if e.status not in (0, 1) or "Traceback" in e.err
    ]
    faults += locked(ended)
    for study in words:  # a cell that the other study was running is missing in the report until now
        if (last := run(folder, *study)).status:
            faults.append(f"{study[1]} again: {last.err[-300:]}")
    cells = Counter(r.data.tags["signature"] for r in runs(folder) if "signature" in r.data.tags)
    if sorted(cells.values()) != [1] * 4:
        faults.append(f"runs of 4 cells: {sorted(cells.values())}")
    statuses = Counter(r.info.status for r in runs(folder))
    if statuses != {"FINISHED": 6}:
        faults.append(f"runs: {dict(statuses)}")
    tables = [
        sorted((folder / "reports" / name / "table.csv").read_text().splitlines()) for name in ("first", "second")
    ]
    if tables[0] != tables[1]:
        faults.append("the two reports differ")
    return Row("two studies with the same 4 cells at once", 4, tuple(faults + doubled(folder)))


def _report_and_prune(folder: Path, alone: Path, count: int) -> Row:
    """While runs are trained, a study's report is written and old runs are deleted, again and again."""
    cache = ("--cache", str(alone / ".cache"))
    faults = _wrong_ends([run(folder, "study", "first", *cache)])
    old = [r.info.run_id for r in runs(folder)]
    loose = run(folder, "train", "net", "seed=99", *cache)
    faults += _wrong_ends([loose])
    training = [
        Command(folder, "train", name, f"seed={n}", *cache)
        for n, name in enumerate(["net", "vectors"] * (count // 2), 1)
    ]
    others = 0
    while any(command.alive() for command in training):
        pair = [
            ("report", "first"),
            ("report", "first"),
            ("prune", "--older", "0d", "--yes") if not others else ("prune", "--older", "1d", "--yes"),
        ]
        faults += _wrong_ends(_together(folder, pair))
        others += len(pair)
        time.sleep(0.2)
    faults += _wrong_ends([command.ended() for command in training])
    found = {r.info.run_id: r for r in runs(folder)}
    if missing := set(old) - set(found):
        faults.append(f"{len(missing)} runs of the study were deleted")
    seeds = Counter(r.data.params["seed"] for i, r in found.items() if i not in old and r.info.status == "FINISHED")
    lost = {str(n) for n in range(1, len(training) + 1)} - set(seeds)
    # a run that had finished before the first deletion began may be among the old ones
    if len(lost) > 1 or "99" in seeds or any(n > 1 for n in seeds.values()):
        faults.append(f"runs by seed: {dict(seeds)}")
    return Row(f"{others} reports and deletions during {len(training)} runs", others, tuple(faults + doubled(folder)))


def _together(folder: Path, commands: list[tuple[str, ...]]) -> list[Ended]:
    started = [Command(folder, *words) for words in commands]
    return [command.ended(900) for command in started]


def _wrong_ends(ended: list[Ended]) -> list[str]:
    return [f"status {e.status}: {e.err[-300:]}" for e in ended if e.status] + locked(ended)


def locked(ended: list[Ended]) -> list[str]:
    return ["a database was locked" for e in ended if "locked" in e.err]


def doubled(folder: Path) -> list[str]:
    """Names what the store holds twice, or in part: metrics of one step, runs without params, files half written."""
    database = folder / "mlruns" / "mlflow.db"
    faults = [] if sound(database) else ["the database is damaged"]
    # the means in a study's own run change while its cells are run
    study = "SELECT run_uuid FROM tags WHERE key = 'kind' AND tags.value = 'study'"
    query = (
        "SELECT run_uuid, key, step, COUNT(*) FROM metrics WHERE key NOT LIKE 'system/%' "
        f"GROUP BY 1, 2, 3, CASE WHEN run_uuid IN ({study}) THEN metrics.value END HAVING COUNT(*) > 1"
    )
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        faults += [f"doubled metric {row}" for row in connection.execute(query).fetchall()[:3]]
        names = [name for (name,) in connection.execute("SELECT name FROM experiments WHERE name != 'Default'")]
    if names != ["DEMO"]:
        faults.append(f"MLflow experiments: {names}")
    left = [*folder.rglob("*.part"), *(folder / "mlruns" / "checkpoints").glob("*")]
    return faults + ([f"left over: {', '.join(file.name for file in left[:3])}"] if left else [])


def _entries(folder: Path) -> Counter[str]:
    """Counts the cache's folders by kind, without the digests in their names."""
    return Counter(f.name.rpartition("-")[0] for f in (folder / ".cache").iterdir() if f.is_dir())
