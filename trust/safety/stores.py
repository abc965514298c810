"""MLflow stores that somebody else wrote: ids, addresses of files and tags that lead out of their folder."""

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from mlflow.tracking import MlflowClient

from emotion_lightning.errors import UserError
from emotion_lightning.tracking import outbox, store
from trust import commands
from trust.safety.scene import Scene

ID = "0123456789abcdef" * 2
OUTSIDE = ("prune", "--older", "0d", "--all", "--yes")


def attempts(scene: Scene) -> Iterator[tuple[str, str]]:
    """Yields what was tried and what went wrong with it: a file outside of the scene's folder that has changed."""
    victim = scene.folder.parent / "victim"
    for name in ("plain", ID):
        (victim / name / "artifacts").mkdir(parents=True)
        (victim / name / "artifacts" / "thesis.txt").write_text("years of work")
    svm = scene.runs["demo_svm"]
    for label, sql, words in _edits(scene, victim, svm):
        yield label, _tried(scene, victim, partial(_edit, scene, sql), words)
    link = scene.folder / "mlruns" / "artifacts" / svm
    yield "prune: a run's folder is a link", _tried(scene, victim, lambda: _linked(link, victim / ID), OUTSIDE)


def _edits(scene: Scene, victim: Path, svm: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yields a label, an SQL statement for the database, and a command that reads it."""
    uri = f"file://{victim}"
    dots = f"file://{scene.folder}/mlruns/artifacts/../../../victim"
    for folder in (f"{uri}/plain", f"{uri}/{ID}", f"{dots}/{ID}", f"{uri}/{ID}/x/.."):
        sql = f"UPDATE runs SET artifact_uri = '{folder}/artifacts' WHERE run_uuid = '{svm}'"
        shown = folder.replace(str(scene.folder.parent), "…")
        for words in (OUTSIDE, ("predict", scene.sound, "--run", svm), ("explain", svm)):
            yield f"{words[0]}: files at {shown}", sql, words
    model = f"UPDATE logged_models SET artifact_location = '{uri}/{ID}/artifacts'"
    yield "prune: a model's files elsewhere", model, OUTSIDE
    for name in ("../../../victim/plain", f"../../../victim/{ID}", ".."):
        columns = "user_id, name, experiment_id, status, start_time, end_time, lifecycle_stage, artifact_uri"
        row = "SELECT 'x', 'x', experiment_id, 'FINISHED', 1, 2, 'active', artifact_uri FROM runs LIMIT 1"
        sql = f"INSERT INTO runs (run_uuid, {columns}) {row.replace('SELECT', f'''SELECT '{name}',''')}"
        for words in (OUTSIDE, ("explain", name), ("predict", scene.sound, "--run", name), ("report", name)):
            yield f"{words[0]}: a run with the id {name}", sql, words
    tags = f"UPDATE tags SET value = '../../victim/plain' WHERE run_uuid = '{svm}'"
    for words in (OUTSIDE, ("explain", svm), ("report", "../../victim/plain")):
        yield f"{words[0]}: tags with ../", tags, words


def _edit(scene: Scene, sql: str) -> None:
    with closing(sqlite3.connect(scene.folder / "mlruns" / "mlflow.db")) as database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute(sql)
        database.commit()


def _linked(link: Path, target: Path) -> None:
    shutil.rmtree(link)
    link.symlink_to(target)


def _tried(scene: Scene, victim: Path, change: Callable[[], None], words: tuple[str, ...]) -> str:
    """Returns the first difference that the command makes outside of the scene's folder, or its traceback."""
    before = _files(victim.parent, scene.folder)
    with scene.put_back():
        change()
        ended = commands.run(scene.folder, *words)
    after = _files(victim.parent, scene.folder)
    if changed := sorted(before.items() ^ after.items()):
        return f"changed {changed[0][0]}"
    return f"a traceback: {ended.printed[-300:]}" if "Traceback" in ended.printed or ended.status is None else ""


def _files(folder: Path, without: Path) -> dict[str, bytes]:
    return {str(f): f.read_bytes() for f in folder.rglob("*") if f.is_file() and not f.is_relative_to(without)}


def imports(folder: Path) -> Iterator[tuple[str, str]]:
    """Yields what was tried with a folder that is to be imported, and what went wrong with it."""
    secret = folder / "secret.txt"
    whole = folder / "whole" / "mlruns"
    store.make_local(whole)
    MlflowClient(store.local(whole)).create_run("0")
    secret.write_text("a private file of this machine")
    for place in ("target", "outbox/.empty"):  # MLflow takes seconds to make a store
        shutil.copytree(whole, folder / place)
    ways = {"a link to a file": _link_to, "a link to a folder": _linked_folder, "an address with ../": _dots}
    for number, (label, make) in enumerate(ways.items()):
        packed = _packed(folder / "outbox" / f"{number:032x}")
        make(packed, secret)
        yield f"import: {label}", _imported(packed, folder, secret)
    yield "import: a whole store", _imported(whole, folder, secret)


def _packed(folder: Path) -> Path:
    """Makes a folder as mlruns/outbox has them, with one run and one artifact."""
    folder.mkdir(parents=True)
    client = MlflowClient(outbox._make_store(folder))
    made = client.create_experiment("DEMO", artifact_location=(folder / "artifacts").as_uri())
    run = client.create_run(made).info.run_id
    client.log_text(run, "x", "notes.txt")
    client.set_terminated(run)
    return folder


def _artifacts(folder: Path) -> Path:
    return next((folder / "artifacts").glob("*/artifacts"))


def _link_to(folder: Path, secret: Path) -> None:
    (_artifacts(folder) / "notes.md").symlink_to(secret)


def _linked_folder(folder: Path, secret: Path) -> None:
    _linked(_artifacts(folder), secret.parent)


def _dots(folder: Path, secret: Path) -> None:
    with closing(sqlite3.connect(folder / "mlflow.db")) as database:
        above = os.path.relpath(secret.parent, folder / "artifacts")
        database.execute(f"UPDATE runs SET artifact_uri = '{(folder / 'artifacts').as_uri()}/{above}'")
        database.commit()


def _imported(packed: Path, folder: Path, secret: Path) -> str:
    """Imports the folder into another store; it has to be refused, stay whole, and nothing private may be sent."""
    before = {p for p in packed.rglob("*") if p.suffix != ".lock" and "mlflow.db" not in p.name}
    target = folder / "target"
    server = MlflowClient(store.local(target))
    wrong = "it was not refused"
    try:
        outbox.import_run(packed, server)
    except UserError as refusal:
        wrong = "more than one line" if "\n" in str(refusal) else ""
    missing = sorted(str(p) for p in before if not (p.exists() or p.is_symlink()))
    sent = any(f.is_file() and f.read_bytes() == secret.read_bytes() for f in target.rglob("*"))
    return f"deleted {missing[0]}" if missing else "a private file was sent" if sent else wrong
