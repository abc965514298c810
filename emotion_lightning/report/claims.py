"""Published figures, to stand beside our own: one YAML file a source in `claims/`, next to the experiments.

Whatever stands at the top of a file counts for all of its figures, unless the figure says otherwise. A figure names the
protocol of ours that is nearest to its own; that protocol need not exist here.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.config.schema import Settings
from emotion_lightning.errors import UserError

Text = Annotated[str, Field(min_length=1)]


class Claim(Settings):
    source: Text = Field(description="paper or benchmark, with its arXiv number")
    url: str = ""
    corpora: tuple[Text, ...] = Field(min_length=1, description="tested on, all of them together")
    model: Text = Field(description="our experiment's name where there is one, else the source's word")
    metric: Literal["accuracy", "f1", "uar"] = Field(
        description="WA is accuracy, UA is uar; which mean an f1 is, papers seldom tell"
    )
    value: float = Field(gt=0, le=1, description="a fraction, not percent")
    std: float | None = Field(None, gt=0, le=1, description="deviation over seeds or folds, as the source has it")
    protocol: Text = Field(description="ours that is nearest; `unknown` where the source does not tell")
    speakers: Literal["both sides", "disjoint", "unknown"]
    side: Literal["validation", "test", "unknown"] = Field(description="validation: it also chose epoch or settings")
    how: Text = Field(description="how the figure arose, in one sentence")
    about: str = ""
    file: str = Field(description="the file it stands in")


def load() -> list[Claim]:
    """All claims, by file name and in the file's order; a user's file hides a shipped one of its name."""
    files: dict[str, Path] = {}
    for folder in settings.folders():
        for file in folder.glob("claims/*.yaml"):
            files.setdefault(file.name, file)
    return [claim for _, file in sorted(files.items()) for claim in _read(file)]


def beside(claims: Iterable[Claim], corpora: Iterable[str], model: str | None = None) -> list[Claim]:
    """The claims on just these corpora, and for this model if one is named."""
    wanted = set(corpora)
    return [c for c in claims if set(c.corpora) == wanted and model in (None, c.model)]


def differs(claim: Claim, protocol: str) -> str:
    """Why the claim is not comparable with a test figure under `protocol`; empty where it is."""
    said = []
    ours = parts.names("protocols")  # of another nothing is known, so that nothing is held against the claim
    known = protocol in ours and "speaker" not in parts.fact("protocols", protocol, "DISJOINT", ())
    if claim.side == "validation":
        said.append("validation side, which chose the epoch or the settings")
    elif claim.side == "unknown":
        said.append("side not told")
    if claim.protocol != protocol:
        if claim.speakers == "unknown":
            said.append("speakers not told")
        elif claim.speakers == "both sides" and not known:
            said.append("speakers on both sides")
        elif claim.speakers == "disjoint" and known:
            said.append("no speaker on both sides")
        said.append("protocol not told" if claim.protocol == "unknown" else f"other protocol ({claim.protocol})")
    return "; ".join(said)


def _read(file: Path) -> Iterator[Claim]:
    shown, shared = settings.shown(file), settings.read(file)
    figures = shared.pop("figures", None)
    if not isinstance(figures, list) or not figures:
        raise UserError(f"{shown}: figures: a file of claims needs a list of them")
    for number, figure in enumerate(figures):
        place = f"{shown}: figures.{number}"
        if not isinstance(figure, dict):
            raise UserError(f"{place}: a figure is a mapping, not {json.dumps(figure, default=str)}")
        if "file" in (tree := {**shared, **figure}):
            raise UserError(f"{place}.file: no such setting; it is the file's own name")
        try:
            yield Claim.model_validate_json(json.dumps(tree | {"file": f"claims/{file.name}"}))
        except ValidationError as error:
            raise UserError(_fault(error, figure, shared, number, shown)) from None
        except TypeError as error:  # a date, say
            raise UserError(f"{place}: {error}") from None


def _fault(error: ValidationError, figure: dict[str, Any], shared: dict[str, Any], number: int, shown: str) -> str:
    """One line; a misspelt key first, since what is then missing follows from it."""
    worst = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    at_top = worst["loc"][0] in shared and worst["loc"][0] not in figure
    return settings.format_error(worst, Claim, () if at_top else ("figures", str(number)), {(): shown})
