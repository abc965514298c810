"""What is left half by a kill: files in their final places, and models that our commands read."""

import functools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
import yaml

from trust import forked, places


def half_files(folder: Path, whole: Path) -> Iterator[str]:
    """Yields files in their final places that are neither missing nor whole: checkpoints, caches, reports."""
    yield from places.half_checkpoints(folder)
    if (folder / ".cache").is_dir():
        there = cached(whole)
        yield from (f"half a cache: {name}" for name, file in cached(folder).items() if there.get(name) != file)
    for name, digest in places.files(folder / "reports").items():
        if name.startswith(".part-"):
            continue  # written aside; nobody reads it, and the next report removes it
        if Path(name).suffix in (".csv", ".tex") and places.files(whole / "reports").get(name) != digest:
            yield f"half a report: {name}"
        if name.endswith(".html") and "</html>" not in (folder / "reports" / name).read_text():
            yield f"half a report: {name}"
        if name.endswith(".png") and not (folder / "reports" / name).read_bytes().endswith(b"IEND\xaeB`\x82"):
            yield f"half a report: {name}"
    for file in (folder / "experiments").glob("*_tuned.yaml"):
        if not isinstance(yaml.safe_load(file.read_text()), dict):
            yield f"half an experiment file: {file.name}"


def cached(folder: Path) -> dict[str, str]:
    """Returns the digests of the files in complete folders of the cache, without the digest in a folder's name."""
    found = places.files(folder / ".cache")
    names = {name: Path(name).parts for name in found}
    return {
        "/".join((parts[0].partition("-")[0], *parts[1:])): found[name]
        for name, parts in names.items()
        if not parts[0].startswith(".") and not parts[0].endswith(".part")
    }


def half_models(folder: Path, whole: Path) -> Iterator[str]:
    """Yields models that our commands read from a run and that are none of those of the unbroken command."""
    good = set(_of_the_unbroken(whole).values())
    for model, answer in _answers(folder).items():
        if answer not in good and not answer.startswith("refused: "):
            yield f"half a model was read: {model}: {answer[:200]}"


@functools.cache
def _of_the_unbroken(whole: Path) -> dict[str, str]:
    return _answers(whole)


def _answers(folder: Path) -> dict[str, str]:
    """Returns what each model of a folder answers, read in a process of its own, because that changes the folder.

    Raises: RuntimeError where the process does not end well.
    """
    file = folder / "read.json"
    process = forked.fork_server().Process(target=_read, args=(folder, list(places.runs(folder)), file))
    process.start()
    process.join(forked.PATIENCE)
    if process.exitcode != 0:
        raise RuntimeError(f"reading the models ended with {process.exitcode}")
    return dict(json.loads(file.read_text()))


def _read(folder: Path, runs: list[str], output: Path) -> None:
    """Reads the checkpoint and the package of runs as our commands do; writes what each answers, or the refusal."""
    os.chdir(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    from emotion_lightning.errors import UserError
    from emotion_lightning.serving import package
    from emotion_lightning.serving.find import package_folder
    from emotion_lightning.training import kept

    waves = torch.rand(1, 16_000, generator=torch.Generator().manual_seed(0)) - 0.5

    def answer(read: Callable[[], torch.nn.Module]) -> str:
        try:
            with torch.inference_mode():
                return str(read()(waves, torch.tensor([16_000])).tolist())
        except UserError as refusal:
            return f"refused: {refusal}"
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    answers = {}
    for run in runs:
        answers[f"checkpoint of run {run[:8]}"] = answer(lambda run=run: kept.model(kept.find(run)))  # type: ignore[misc]
        answers[f"package of run {run[:8]}"] = answer(lambda run=run: package.read(package_folder(run=run)).model)  # type: ignore[misc]
    output.write_text(json.dumps(answers))
