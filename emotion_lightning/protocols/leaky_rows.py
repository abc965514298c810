"""The mistake behind many published figures, rebuilt to be measured: rows, not clips, are split at random.

With an augmentation of stage `rows` (copies, slices), rows of one clip are in all splits. So a model is tested on what it was
trained on, apart from a little noise. The protocol refuses to run unless the experiment has
`protocol.i_know_this_leaks=true`. The run, its tables and its figures are marked LEAKY.

It rebuilds arXiv 2507.03251: four rows for each clip, then a random split of the rows; 97 to 99 % on six corpora.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import Field

from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import Seed, Split, sorted_indices

DISJOINT: tuple[str, ...] = ()
SPLITS_ROWS = True  # it gets every row, not only the clips as recorded
LEAKS = True  # its results are marked LEAKY

Share = Annotated[float, Field(gt=0, lt=1)]


def split(
    clips: Sequence[Clip],
    *,
    i_know_this_leaks: bool = False,
    split_seed: Seed = 0,
    val_share: Share = 0.1,
    test_share: Share = 0.2,
) -> Split:
    """Splits rows at random; the shares count rows. The paper had no validation split; ours is taken from its training split."""
    if not i_know_this_leaks:
        raise UserError(
            "protocol.i_know_this_leaks: rows of one clip would be in both training and test, and the figure would mean "
            "nothing; set it to true to rebuild that mistake on purpose, or use protocol=random or protocol=speaker_folds"
        )
    if not any(clip.variant for clip in clips):
        raise UserError("protocol.name: leaky_rows needs more rows than clips: add augment.copies or augment.slices")
    if val_share + test_share >= 1:
        raise UserError(f"protocol.val_share: {val_share} and test_share {test_share} leave nothing to train on")
    drawn = np.random.default_rng(split_seed).permutation(sorted_indices(clips))
    test = round(len(clips) * test_share)
    val = test + round(len(clips) * val_share)
    return Split.from_held_out(len(clips), val=drawn[test:val], test=drawn[:test])
