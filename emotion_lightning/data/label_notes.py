"""Notes for the user on labels from which a model cannot learn, or on which it cannot be tested."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from emotion_lightning.corpora import Clip
from emotion_lightning.protocols import SPLITS, Split


def unlearnable(clips: Sequence[Clip], split: Split, classes: Sequence[str]) -> Iterator[str]:
    """Yields a note for each class that has no training clip, or no test clip."""
    counts = {name: Counter(clips[i].emotion for i in split.indices(name)) for name in SPLITS}
    for emotion in classes:
        train, val, test = (counts[name][emotion] for name in SPLITS)
        if not train:
            yield f"{emotion}: no training clip, but {val} validation and {test} test clips; no model can learn it"
        elif not test:
            yield f"{emotion}: no test clip, so the test scores leave it out"


def contradictions(clips: Sequence[Clip]) -> Iterator[str]:
    """Yields a note if recordings with equal audio have different emotions."""
    emotions = defaultdict[str, set[str]](set)
    for clip in clips:
        if clip.content and not clip.variant:
            emotions[clip.content].add(clip.emotion)
    contradictory = [sorted(names) for names in emotions.values() if len(names) > 1]
    if contradictory:
        yield f"recordings that occur with two emotions: {len(contradictory)}, such as {' and '.join(contradictory[0])}"
