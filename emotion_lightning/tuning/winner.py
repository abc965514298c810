"""The experiment file that a search ends with: experiments/NAME_tuned.yaml in the working folder."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from statistics import stdev
from typing import Any

import yaml
from optuna.study import Study
from optuna.trial import TrialState

from emotion_lightning.config.command import make_options
from emotion_lightning.data.filesystem import written_whole
from emotion_lightning.errors import UserError
from emotion_lightning.tuning import storage
from emotion_lightning.tuning.inner import groups
from emotion_lightning.tuning.request import INNER_FOLDS, Request

FOLDER = Path("experiments")
MARK = "Written by `make tune`, which replaces this file."


@dataclass(frozen=True)
class Winner:
    """The best trial. `uar` is the mean over its inner folds, and `spread` their standard deviation."""

    file: Path
    command: str  # that trains with these settings
    trial: int
    uar: float
    spread: float
    values: dict[str, Any]  # by dotted path
    pruned: int  # number of trials


def file_of(request: Request) -> Path:
    """Returns the path of the file that the search writes."""
    return FOLDER / f"{request.experiment.name}_tuned.yaml"


def require_replaceable(request: Request) -> None:
    """Checks that the file is missing, or that a search has written it.

    Raises: UserError where somebody else has.
    """
    file = file_of(request)
    if file.exists() and MARK not in file.read_text(encoding="utf-8", errors="replace").partition("\n")[0]:
        raise UserError(f"{file}: this file was not written by `make tune`, and is not replaced; rename it")


def write(request: Request, study: Study) -> Winner:
    """Writes the settings of the best trial as an experiment whose base is the searched one."""
    best = study.best_trial
    file = file_of(request)
    options = make_options(request.overrides, with_folders=True)
    found = Winner(
        file=file,
        command=f"make train EXP={file.stem}{options}",
        trial=best.number,
        uar=float(best.value or 0.0),
        spread=stdev(best.user_attrs["uars"]),
        values=best.user_attrs["values"],
        pruned=len(study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))),
    )
    tree = {"base": _base(request), **nested(found.values)}
    body = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with written_whole(file) as part:
        part.write_text(_header(request, found, len(storage.finished(study))) + body, encoding="utf-8")
    return found


def _header(request: Request, found: Winner, finished: int) -> str:
    name, options = request.experiment.name, make_options(request.overrides)
    inner = f" INNER={request.folds}" if request.folds != INNER_FOLDS else ""
    noun = groups(request.experiment.protocol.name)[1]
    lines = [
        f"{name} with the settings that a search chose. {MARK}",
        "",
        f"  make tune EXP={request.name} TRIALS={request.trials}{inner}{options}",
        f"  make train EXP={found.file.stem}{options}",
        "",
        f"Trials    {finished}, {found.pruned} of them pruned, each on {request.folds} inner folds of whole {noun}.",
        f"Found     UAR {found.uar:.3f} ± {found.spread:.3f} (mean and standard deviation over the inner folds), "
        f"trial {found.trial}.",
        f"Date      {date.today().isoformat()}",
        "",
        "This figure is optimistic, because the settings were chosen by it. No test clip was read.",
    ]
    if (fold := request.experiment.protocol.args.get("fold")) is not None:
        lines.append(
            f"The choice knows the clips that folds other than {fold} test; only fold {fold} is a test of it."
        )
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def _base(request: Request) -> str:
    """Returns the name of the searched experiment; its path where the name alone is not found from the new file."""
    name = request.experiment.name
    if request.name == name or Path(request.name).resolve().parent == FOLDER.resolve():
        return name
    return request.name


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """Turns {"fit.ema": 0.9} into {"fit": {"ema": 0.9}}."""
    tree: dict[str, Any] = {}
    for path, value in values.items():
        *folders, last = path.split(".")
        inner = tree
        for key in folders:
            inner = inner.setdefault(key, {})
        inner[last] = value
    return tree
