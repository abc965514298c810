"""Every kind of settings file: how it is read, YAML's special forms in it, and a wrong value at every path."""

import shutil
from pathlib import Path

import yaml

from emotion_lightning import weights
from emotion_lightning.config import loader
from emotion_lightning.protocols import published_folds
from emotion_lightning.report import claims
from emotion_lightning.studies import study as studies
from trust.bad_settings.judge import fault_of
from trust.bad_settings.values import SPECIAL, WRONG, changed, inline, leaves
from trust.rows import Row, Setting


def experiment(file: Path) -> None:
    loader.load(str(file))


def study(file: Path) -> None:
    studies.cells(studies.load(str(file)))


def claim(file: Path) -> None:
    folder = Path("experiments/claims")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(file, folder / file.name)
    claims.load()


def pretrained(file: Path) -> None:
    loader.validate(weights.Weights, {"name": "mine", **loader.read(file)}, file)


def folds(file: Path) -> None:
    loader.validate(published_folds.Folds, loader.read(file), file)


READERS = {"experiment": experiment, "study": study, "claim": claim, "weights": pretrained, "folds": folds}


def specials() -> Row:
    """Every special text, as every kind of file."""
    faults, file = [], Path("mine.yaml")
    for kind, read in READERS.items():
        for content in SPECIAL:
            file.write_bytes(content)
            if fault := fault_of(lambda read=read: read(file), "mine.yaml", "study mine"):  # type: ignore[misc]
                faults.append(f"{kind} {content[:60]!r}: {fault}")
    shutil.rmtree("experiments")
    return Row("YAML's special forms, in five kinds of files", 5 * len(SPECIAL), tuple(faults))


def every_path(setting: Setting) -> Row:
    """Each wrong value at each path of the schema and of the arguments of each part, in a file and as an override."""
    trees = [
        loader.load(name).model_dump(mode="json", exclude={"name"})
        for name in loader.names()[:: max(1, round(1 / setting.share))]
    ]
    places = {path: tree for tree in trees for path in leaves(tree)}
    faults, times = [], 0
    for number, (path, tree) in enumerate(sorted(places.items(), key=str)):
        for value in WRONG[number % 4 :: 4] if setting.share < 1 else WRONG:
            times += 2
            text = yaml.safe_dump(changed(tree, path, value), allow_unicode=True)
            Path("mine.yaml").write_text(text, encoding="utf-8")
            dotted = ".".join(map(str, path))
            override = f"{dotted}={inline(value)}"
            for call, names in (
                (lambda: loader.load("mine.yaml"), ("mine.yaml",)),
                (lambda override=override: loader.load("demo", [override]), ("SET", "demo.yaml")),
            ):
                if fault := fault_of(call, *names):
                    faults.append(f"{dotted}={str(value)[:60]!r}: {fault}")
    return Row("a wrong value at every path", times, tuple(faults), f"{len(places)} paths, {len(WRONG)} values")
