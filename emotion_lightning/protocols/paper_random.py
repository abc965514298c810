"""DeepEmoNet's protocol: one random 90/5/5 split by clip, not stratified, with the same speakers in all splits.

It measures how well emotions of known speakers are recognised; for unseen speakers see speaker_folds. The papers' figures
are from their validation split; here a test split is held out. The author's own split cannot be rebuilt, because it came
from an unsorted directory listing.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import Seed, Split, corpora_in_order, group_ids, sorted_indices

DISJOINT: tuple[str, ...] = ()
Share = Annotated[float, Field(ge=0, lt=1)]


def split(clips: Sequence[Clip], *, split_seed: Seed = 0, val_share: Share = 0.05, test_share: Share = 0.05) -> Split:
    """Draws one split for each `split_seed`; the shares count clips."""
    if val_share + test_share >= 1:
        raise UserError(f"protocol.val_share: {val_share} and test_share {test_share} leave nothing to train on")
    order = sorted_indices(clips, corpora_in_order(clips))
    groups = group_ids([clips[i] for i in order], [lambda clip: clip.content])
    drawn = np.random.default_rng(split_seed).permutation(groups.max() + 1)
    position = np.argsort(drawn)[groups]  # (clips,) of each clip's group in the random order
    ranked = np.argsort(position, kind="stable")
    test = _end_of_group(position[ranked], round(len(clips) * test_share))
    val = _end_of_group(position[ranked], test + round(len(clips) * val_share))
    return Split.from_held_out(len(clips), val=order[ranked[test:val]], test=order[ranked[:test]])


def _end_of_group(positions: NDArray[np.int64], cut: int) -> int:
    """Returns `cut`, moved to the end of the group that it falls into."""
    return cut + int((positions[cut:] == positions[cut - 1]).sum()) if cut else 0
