"""`make prune`: lists old runs with their age and size, and deletes them if asked to."""

import re

from rich.console import Console
from rich.table import Table
from rich.text import Text

from emotion_lightning.errors import UserError, nearest
from emotion_lightning.studies.used import runs_by_study
from emotion_lightning.tracking import prune, store
from emotion_lightning.tracking import run as tracking
from emotion_lightning.tracking.disk import bytes_in, megabytes

UNITS = {"d": 1.0, "h": 1 / 24}


def prune_command(older: str | None, study: str | None, everything: bool, yes: bool, console: Console) -> None:
    """Prints the runs to delete; deletes them if `yes`. Runs that a study uses are kept, unless `study` or `everything` says so.

    Raises: UserError for an age or a study that is not valid, and for a store that is not the local one.
    """
    if store.uri() != store.local():
        raise UserError(
            f"prune works on mlruns/ only, and MLFLOW_TRACKING_URI is {store.shown_uri()}; `mlflow gc` on the server's machine "
            "deletes runs there"
        )
    days = _days(older or ("0d" if study else "30d"))
    client = store.connect()
    tracking.sweep(client)
    found, kept = _chosen(prune.old_runs(client, days), runs_by_study(client), study, everything)
    if not study:
        found += prune.left_over(client, days)
    if found:
        console.print(_table(found))
    freed, total = sum(old.bytes for old in found), bytes_in(store.ROOT)
    _say(console, f"{_count(len(found))}, {megabytes(freed)} of the {megabytes(total)} in {store.ROOT}/")
    if kept:
        _say(console, f"{_count(kept)} more belong to studies and are kept; STUDY=<name> or ALL=1 deletes them too")
    if found and yes:
        deleted = sum(prune.delete(client, old) for old in found)
        _say(console, f"deleted {deleted} of {len(found)}; {store.ROOT}/ now takes {megabytes(bytes_in(store.ROOT))}")
    elif found:
        _say(console, "nothing was deleted; YES=1 deletes what is listed")


def _days(older: str) -> float:
    if not (match := re.fullmatch(r"(\d+)([dh])", older)):
        raise UserError(f"OLDER={older}: an age in days or hours is needed, for example OLDER=30d or OLDER=12h")
    return int(match[1]) * UNITS[match[2]]


def _chosen(
    old: list[prune.Old], used: dict[str, set[str]], study: str | None, everything: bool
) -> tuple[list[prune.Old], int]:
    """Returns the runs to delete, and how many are kept because a study uses them. Runs that a user has deleted are not kept."""
    if study is not None and study not in used:
        raise UserError(f"STUDY={study}: no study of that name has been run{nearest(study, used)}")
    by_others = set[str]().union(*(ids for name, ids in used.items() if name != study))
    keep = set() if everything else by_others
    chosen = [o for o in old if study is None or o.id in used[study]]
    return [o for o in chosen if o.id not in keep], sum(o.id in keep for o in chosen)


def _table(found: list[prune.Old]) -> Table:
    table = Table("run", "name", "status", "age", "size")
    for old in found:
        age = f"{old.days:.0f} d" if old.days >= 1 else f"{24 * old.days:.0f} h"
        table.add_row(old.id[:8], Text(old.name), old.status, age, megabytes(old.bytes))
    return table


def _count(number: int) -> str:
    return f"{number} run{'s' * (number != 1)}"


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True, markup=False, highlight=False)
