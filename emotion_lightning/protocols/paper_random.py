"""DeepEmoNet's protocol: one random 90/5/5 split by clip, not stratified, speakers on all sides.

It measures how well known speakers are told; for unseen ones see speaker_folds. The papers' figures were validation
figures, here the test side is held out. The author's own split cannot be rebuilt (unsorted directory listing).
"""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from emotion_lightning.corpora import Clip
from emotion_lightning.errors import UserError
from emotion_lightning.protocols import Seed, Split, as_given, in_order, linked

DISJOINT: tuple[str, ...] = ()
Share = Annotated[float, Field(ge=0, lt=1)]


def split(clips: Sequence[Clip], *, split_seed: Seed = 0, val_share: Share = 0.05, test_share: Share = 0.05) -> Split:
    """`split_seed` names one split; the shares count clips."""
    if val_share + test_share >= 1:
        raise UserError(f"protocol.val_share: {val_share} and test_share {test_share} leave nothing to train on")
    order = in_order(clips, as_given(clips))
    groups = linked([clips[i] for i in order], [lambda clip: clip.content])
    drawn = np.random.default_rng(split_seed).permutation(groups.max() + 1)
    place = np.argsort(drawn)[groups]  # (clips,) where each clip's group stands in the random order
    ranked = np.argsort(place, kind="stable")
    test = _end_of_group(place[ranked], round(len(clips) * test_share))
    val = _end_of_group(place[ranked], test + round(len(clips) * val_share))
    return Split.of(len(clips), val=order[ranked[test:val]], test=order[ranked[:test]])


def _end_of_group(places: NDArray[np.int64], cut: int) -> int:
    """`cut`, moved behind the group that it falls into."""
    return cut + int((places[cut:] == places[cut - 1]).sum()) if cut else 0
