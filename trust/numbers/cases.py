"""Random cases, and how a figure is compared with that of the judge."""

import numpy as np
from numpy.typing import NDArray

from emotion_lightning.training.significance import Tested

Random = np.random.Generator


def case(random: Random) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Returns labels (N,) and probabilities (N, classes); some classes have no clip, or are never predicted."""
    clips, classes = int(random.integers(1, 200)), int(random.integers(2, 9))
    labels = random.choice(random.integers(0, classes, random.integers(1, classes + 1)), clips)
    logits = random.normal(0, random.uniform(0.1, 4), (clips, classes))
    logits[np.arange(clips), labels] += random.uniform(0, 3)
    logits[:, random.integers(classes)] -= random.choice([0, 20])
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return labels, (shares / shares.sum(1, keepdims=True)).astype(np.float32)


def tested_case(random: Random, speakers: int = 0) -> Tested:
    """Returns the answers to a case, whose clips are of so many speakers, or of 2 to 11 without a number."""
    labels, shares = case(random)
    names = np.array([f"s{n}" for n in random.integers(0, speakers or int(random.integers(2, 12)), len(labels))])
    return Tested(labels, shares.argmax(1), names, shares.shape[1])


def differ(ours: object, theirs: object, within: float = 1e-6) -> str:
    """Returns both figures where they differ by more than `within`, else ""."""
    mine, other = np.asarray(ours, float), np.asarray(theirs, float)
    return "" if np.allclose(mine, other, rtol=0, atol=within, equal_nan=True) else f"{ours} instead of {theirs}"


def first(*wrong: str) -> str:
    """Returns the first that is not "", else ""."""
    return next(filter(None, wrong), "")
