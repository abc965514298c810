"""Folds of speakers as a publication lists them, so that our figure has the same test speakers as theirs.

A list is a YAML file in `protocols/folds/`, here or in a parts folder of your own. The publications have a training and a
test split. Our validation split is whole speakers from their training split, so we train on fewer.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from emotion_lightning.config import loader as settings
from emotion_lightning.config import parts
from emotion_lightning.config.schema import Settings
from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError, nearest
from emotion_lightning.protocols import Seed, Split
from emotion_lightning.protocols._pool import Count, Pool, recording, speaker

DISJOINT = ("speaker",)
Fold = Annotated[tuple[str, ...], Field(min_length=1)]


def _once(folds: tuple[Fold, ...]) -> tuple[Fold, ...]:
    names = [name for fold in folds for name in fold]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"a speaker is tested once, and {twice[0]} is listed twice")
    return folds


class Folds(Settings):
    """One published list."""

    source: Annotated[str, Field(min_length=1, description="the paper, and the place of the list in it")]
    corpora: Fold
    speakers: Annotated[tuple[Fold, ...], Field(min_length=2), AfterValidator(_once)] = Field(
        description="the test speakers of each fold, by Clip.speaker"
    )


def count_folds(clips: Sequence[Clip], *, published: str = "ravdess_luna_jimenez", **settings: object) -> int:
    """Returns the number of folds of the list."""
    return len(load(published).speakers)


def split(
    clips: Sequence[Clip],
    *,
    published: str = "ravdess_luna_jimenez",
    fold: int = 0,
    split_seed: Seed = 0,
    val_folds: Count = 6,
) -> Split:
    """Tests fold `fold`, from 0, of the list named `published`; `split_seed` draws the validation split only."""
    folds = load(published)
    if not 0 <= fold < len(folds.speakers):
        raise UserError(f"protocol.fold: {fold} is not one of the folds 0…{len(folds.speakers) - 1} of {published}")
    fold_of = {name: number for number, names in enumerate(folds.speakers) for name in names}
    if strangers := sorted({clip.speaker for clip in clips} - fold_of.keys()):
        some = ", ".join(name or "(not known)" for name in strangers[:3]) + ", …" * (len(strangers) > 3)
        raise UserError(
            f"protocol.published: {published} is of {' and '.join(folds.corpora)} and has no fold for "
            f"{len(strangers)} speaker{'s' * (len(strangers) > 1)} of these clips ({some})"
        )
    pool = Pool.from_clips(clips, [speaker, recording], "speakers")
    tested = np.array([fold_of[clip.speaker] for clip in pool.clips])
    _refuse_shared_recordings(pool, tested, published)
    if not (tested == fold).any():
        raise UserError(f"protocol.fold: no clip is of a speaker of fold {fold} of {published}")
    return pool.hold_out(np.flatnonzero(tested == fold), val_folds, split_seed + fold)


def load(name: str) -> Folds:
    """Returns the list of that name.

    Raises: UserError for a name that is missing, that two files have, or whose file is not valid.
    """
    files = parts.yaml_files("protocols/folds")
    if name not in files:
        raise UserError(f"protocol.published: there are no folds named '{name}'{nearest(name, files)}")
    return settings.validate(Folds, settings.read(files[name]), files[name])


def _refuse_shared_recordings(pool: Pool, tested: np.ndarray, published: str) -> None:
    """Raises UserError where two folds share a recording: then list and rule (copies stay together) contradict."""
    for group in np.unique(pool.groups):
        if len(np.unique(tested[pool.groups == group])) > 1:
            names = sorted({clip.speaker for clip, g in zip(pool.clips, pool.groups, strict=True) if g == group})
            raise UserError(
                f"protocol.published: {published} tests {' and '.join(names)} in different folds, but they share a "
                f"recording"
            )
