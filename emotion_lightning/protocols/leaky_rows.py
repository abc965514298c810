"""The mistake behind many published figures, rebuilt to be measured: rows, not clips, are shared out at random.

With an augmentation of stage `rows` (copies, slices) the rows of one clip stand on all sides, so a network is tested on what it
has trained on, but for a little noise. It refuses to run unless the experiment says `protocol.i_know_this_leaks=true`; the
run, its tables and figures are marked LEAKY.

What it rebuilds: arXiv 2507.03251 (four rows a clip, then a random split of the rows; 97 to 99 % on six corpora).
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import Seed, Split, in_order

DISJOINT: tuple[str, ...] = ()
SPLITS_ROWS = True  # it is given every row, not only the clips as recorded
LEAKS = True  # what comes of it is marked LEAKY

Share = Annotated[float, Field(gt=0, lt=1)]


def split(
    clips: Sequence[Clip],
    *,
    i_know_this_leaks: bool = False,
    split_seed: Seed = 0,
    val_share: Share = 0.1,
    test_share: Share = 0.2,
) -> Split:
    """The shares count rows. The paper had no validation side; ours comes out of the training side."""
    if not i_know_this_leaks:
        raise UserError(
            "protocol.i_know_this_leaks: rows of one clip would stand on both sides, and the figure would mean nothing; "
            "say true to rebuild that mistake on purpose, or take protocol=random or protocol=speaker_folds"
        )
    if not any(clip.variant for clip in clips):
        raise UserError("protocol.name: leaky_rows needs rows to share out: add augment.copies or augment.slices")
    if val_share + test_share >= 1:
        raise UserError(f"protocol.val_share: {val_share} and test_share {test_share} leave nothing to train on")
    drawn = np.random.default_rng(split_seed).permutation(in_order(clips))
    test = round(len(clips) * test_share)
    val = test + round(len(clips) * val_share)
    return Split.of(len(clips), val=drawn[test:val], test=drawn[:test])
