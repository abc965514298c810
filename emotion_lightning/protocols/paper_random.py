"""DeepEmoNet's protocol: one random 90/5/5 split by clip, not stratified, speakers on all sides.

It measures how well known speakers are told; for unseen ones see speaker_folds. The papers' figures were validation
figures, here the test side is held out. The author's own split cannot be rebuilt (unsorted directory listing).
"""

from collections.abc import Sequence

import numpy as np

from emotion_lightning.corpora import Clip
from emotion_lightning.protocols import Split, linked


def split(clips: Sequence[Clip], *, split_seed: int = 0, val_share: float = 0.05, test_share: float = 0.05) -> Split:
    """`split_seed` names one split; the shares count clips."""
    groups = linked(clips, [lambda clip: clip.content])
    order = np.random.default_rng(split_seed).permutation(groups.max() + 1)
    place = np.argsort(order)[groups]  # (clips,) where each clip's group stands in the random order
    ranked = np.argsort(place, kind="stable")
    test, val = round(len(clips) * test_share), round(len(clips) * val_share)
    # a cut inside a group moves behind it
    cuts = [n + int((place[ranked[n:]] == place[ranked[n - 1]]).sum()) if n else 0 for n in (test, test + val)]
    return Split.of(len(clips), val=ranked[cuts[0] : cuts[1]], test=ranked[: cuts[0]])
