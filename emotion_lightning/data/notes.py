"""Notes for the user on clips that a model cannot learn from, cannot be tested on, or hears in part only."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from emotion_lightning.corpora import Clip
from emotion_lightning.protocols import SPLITS, Split

FEW = 5  # clips; below it, one clip moves the recall of its class by more than 20 points


def on_classes(clips: Sequence[Clip], split: Split, classes: Sequence[str]) -> Iterator[str]:
    """Yields a note for each class that has no training or test clip, and one for all that have hardly any."""
    few = []
    counts = {name: Counter(clips[i].emotion for i in split.indices(name)) for name in SPLITS}
    for emotion in classes:
        train, val, test = (counts[name][emotion] for name in SPLITS)
        if not train:
            counted = f"no training clip, but {val} validation and {test} test clips"
            yield f'{emotion}: {counted}; no model can learn it (SET="emotions.{emotion}=off" leaves it out)'
        elif not test:
            yield f"{emotion}: no test clip, so the test scores leave it out"
        elif min(train, test) < FEW:
            few.append(f"{emotion} ({train}, {test})")
    if few:
        yield f"fewer than {FEW} clips of an emotion in (training, test): {', '.join(few)}"


def on_contradictions(clips: Sequence[Clip]) -> Iterator[str]:
    """Yields a note if recordings with equal audio have different emotions."""
    emotions = defaultdict[str, set[str]](set)
    for clip in clips:
        if clip.content and not clip.variant:
            emotions[clip.content].add(clip.emotion)
    contradictory = [sorted(names) for names in emotions.values() if len(names) > 1]
    if contradictory:
        yield f"recordings that occur with two emotions: {len(contradictory)}, such as {' and '.join(contradictory[0])}"


def on_unused_clips(clips: Sequence[Clip], split: Split, protocol: str) -> Iterator[str]:
    """Yields a note if the protocol puts recorded clips in no split."""
    used = np.zeros(len(clips), bool)
    for name in SPLITS:
        used[split.indices(name)] = True
    recorded = [clip for clip in clips if not clip.variant]
    unused = [clip for clip, is_used in zip(clips, used, strict=True) if not is_used and not clip.variant]
    if unused:
        counts = sorted(Counter(f"{clip.corpus} {clip.emotion}" for clip in unused).items())
        named = ", ".join(f"{name} {count}" for name, count in counts)
        yield f"protocol {protocol} leaves out {len(unused)} of {len(recorded)} clips: {named}"


def on_unused_seconds(seconds: NDArray[np.float64], used: tuple[float, float]) -> Iterator[str]:
    """Yields a note for clips that last longer than the feature uses, or end before that part; `seconds` (clips,)."""
    start, end = used
    if count := int((seconds > end).sum()):
        yield f"{count} of {len(seconds)} clips are longer than {end:.1f} s, and the feature uses nothing after that"
    if count := int((seconds <= start).sum() if start else 0):
        yield f"{count} of {len(seconds)} clips end before {start:.1f} s, where the part that the feature uses begins"
