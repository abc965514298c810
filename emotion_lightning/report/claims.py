"""Published figures: one YAML file for each source, in `claims/` of the experiments.

`select` finds the figures for our corpora and model, and `differs` says why one is not comparable with ours. Reports show
both figures in one row (summary.py).

A key at the top of a file applies to all of its figures, unless a figure has that key itself. A figure names the protocol of
ours that is nearest to its own; that protocol need not exist here.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.config.schema import Settings
from emotion_lightning.errors import UserError, shortened

Text = Annotated[str, Field(min_length=1)]


class Claim(Settings):
    """One published figure."""

    source: Text = Field(description="paper or benchmark, with its arXiv number")
    url: str = ""
    corpora: tuple[Text, ...] = Field(min_length=1, description="the corpora that it was tested on, all together")
    model: Text = Field(description="the name of our experiment if there is one, else the name in the source")
    metric: Literal["accuracy", "f1", "uar"] = Field(
        description="WA is accuracy, UA is uar; papers seldom state which mean an f1 is"
    )
    value: float = Field(gt=0, le=1, description="a fraction, not percent")
    std: float | None = Field(
        None, gt=0, le=1, description="standard deviation over seeds or folds, as in the source"
    )
    protocol: Text = Field(description="our nearest protocol; `unknown` if the source does not state it")
    speakers: Literal["overlapping", "disjoint", "unknown"]
    split: Literal["validation", "test", "unknown"] = Field(
        description="the split of the figure; validation: it also chose the epoch or the settings"
    )
    how: Text = Field(description="how the figure was measured, in one sentence")
    about: str = ""
    file: str = Field(description="the file of the claim")


def load() -> list[Claim]:
    """Reads all claims, by file name and in the order of the file. A user's file replaces a shipped one of the same name.

    Raises: UserError for a file that is not valid.
    """
    files: dict[str, Path] = {}
    for folder in settings.folders():
        for file in folder.glob("claims/*.yaml"):
            files.setdefault(file.name, file)
    return [claim for _, file in sorted(files.items()) for claim in _read(file)]


def select(claims: Iterable[Claim], corpora: Iterable[str], model: str | None = None) -> list[Claim]:
    """Returns the claims on exactly these corpora, and for this model if one is named."""
    wanted = set(corpora)
    return [c for c in claims if set(c.corpora) == wanted and model in (None, c.model)]


def differs(claim: Claim, protocol: str) -> str:
    """Returns why the claim is not comparable with a test figure under `protocol`; empty if it is comparable."""
    reasons = []
    known_protocol = protocol in parts.names("protocols")  # nothing is known about the speakers of another protocol
    overlapping = known_protocol and "speaker" not in parts.fact("protocols", protocol, "DISJOINT", ())
    if claim.split == "validation":
        reasons.append("validation split, which chose the epoch or the settings")
    elif claim.split == "unknown":
        reasons.append("split not stated")
    if claim.protocol != protocol:
        if claim.speakers == "unknown":
            reasons.append("speakers not stated")
        elif claim.speakers == "overlapping" and not overlapping:
            reasons.append("speakers overlap")
        elif claim.speakers == "disjoint" and overlapping:
            reasons.append("no speaker overlap")
        unknown = claim.protocol == "unknown"
        reasons.append("protocol not stated" if unknown else f"other protocol ({claim.protocol})")
    return "; ".join(reasons)


def _read(file: Path) -> Iterator[Claim]:
    shown, shared = settings.shown(file), settings.read(file)
    figures = shared.pop("figures", None)
    if not isinstance(figures, list) or not figures:
        raise UserError(f"{shown}: figures: a file of claims needs a list of them")
    for number, figure in enumerate(figures):
        position = f"{shown}: figures.{number}"
        if not isinstance(figure, dict):
            raise UserError(f"{position}: a figure is a mapping, not {shortened(json.dumps(figure, default=str))}")
        if "file" in (tree := {**shared, **figure}):
            raise UserError(f"{position}.file: no such setting; the name of the file is used")
        try:
            yield Claim.model_validate_json(json.dumps(tree | {"file": f"claims/{file.name}"}))
        except ValidationError as error:
            raise UserError(_fault(error, figure, shared, number, shown)) from None
        except TypeError as error:  # for example a date
            raise UserError(f"{position}: {error}") from None


def _fault(error: ValidationError, figure: dict[str, Any], shared: dict[str, Any], number: int, shown: str) -> str:
    """Returns one line; an unknown key comes first, since it explains the missing one."""
    worst = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    at_top = worst["loc"][0] in shared and worst["loc"][0] not in figure
    return settings.format_error(worst, Claim, () if at_top else ("figures", str(number)), {(): shown})
