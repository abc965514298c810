"""Studies whose truth is known, simulated: how often a statement about them holds."""

import math
from collections.abc import Iterator

import numpy as np
import torch

from emotion_lightning.training import calibration, significance
from emotion_lightning.training.significance import Tested
from trust.numbers.cases import Random
from trust.rows import Row

SPEAKERS = 24
CLIPS = np.array([8, 6, 4, 2])  # of each emotion, each speaker
EASE = np.array([1.0, 0.9, 0.7, 0.5])  # recall of each emotion / the speaker's own rate
RATE = 0.6  # mean of the speakers' rates, Beta(6, 4)
TRUTH = {"accuracy": RATE * float(CLIPS @ EASE) / CLIPS.sum(), "uar": RATE * float(EASE.mean())}


def rates(random: Random, times: int) -> Iterator[Row]:
    """Repeats studies whose truth is known, and counts how often a statement about them holds."""
    studies = [_study(random) for _ in range(times)]
    for metric, truth in TRUTH.items():
        ends = [significance.interval(study[0], metric, resamples=1000) for study in studies]
        held = [end is not None and end[0] <= truth <= end[1] for end in ends]
        yield _rate(f"95 % interval of {metric} contains the true one, {SPEAKERS} speakers", held, 0.95, 0.93)
    pairs = [significance.paired_interval(a, b, "uar", resamples=1000) for a, b in studies]
    held = [pair is not None and pair[1] <= 0 <= pair[2] for pair in pairs]
    yield _rate("95 % interval of the difference of two equal arms contains 0", held, 0.95, 0.93)
    alarms = [significance.mcnemar(*(random.random((2, 200)) < 0.6)).p <= 0.05 for _ in range(times)]
    yield _rate("McNemar's p is at most 0.05 for two equal arms", alarms, 0.05, 0, 0.05)
    families = [min(significance.holm(random.random(10).tolist())) <= 0.05 for _ in range(times)]
    yield _rate("Holm: one of ten true null hypotheses is rejected at 0.05", families, 0.05, 0, 0.05)
    cells = random.normal(0, 1, (times, 2, 10))
    found = [significance.fold_difference(a.tolist(), b.tolist(), 0.0) for a, b in cells]
    yield _rate(
        "corrected t: p is at most 0.05 for equal arms, independent cells",
        [f.p <= 0.05 for f in found if f],
        0.05,
        0.05,
        0.05,
    )
    for clips in (30, 100, 400):
        covered = [_covered(random, clips) for _ in range(times)]
        yield _mean(f"sets made for 90 % contain the true emotion; {clips} validation clips", covered, 0.9)


def _study(random: Random) -> tuple[Tested, Tested]:
    """Draws speakers with rates of their own, and two arms that are equally good at their clips."""
    rates = random.beta(10 * RATE, 10 * (1 - RATE), SPEAKERS)
    labels = np.tile(np.repeat(np.arange(4), CLIPS), SPEAKERS)
    speaker = np.repeat(np.arange(SPEAKERS), CLIPS.sum())
    names = np.char.add("s", speaker.astype(str))

    def arm() -> Tested:
        right = random.random(len(labels)) < rates[speaker] * EASE[labels]
        wrong = (labels + random.integers(1, 4, len(labels))) % 4
        return Tested(labels, np.where(right, labels, wrong), names, 4)

    return arm(), arm()


def _covered(random: Random, clips: int) -> float:
    """Calibrates on clips, and returns the share of 500 other clips of the same kind whose set has the true emotion."""
    spread = random.uniform(1, 3)

    def drawn(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        logits = random.normal(0, spread, (count, 6))
        shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        labels = (random.random((count, 1)) > shares.cumsum(1)).sum(1).clip(max=5)
        sharper = np.exp(1.7 * logits)  # the model is too sure of itself
        return torch.from_numpy(labels), torch.from_numpy(sharper / sharper.sum(1, keepdims=True))

    scale = calibration.calibrate(*drawn(clips), 0.9)
    labels, shares = drawn(500)
    return float(scale.sets(scale.apply(shares)).gather(1, labels[:, None]).double().mean())


def _rate(label: str, held: list[bool], nominal: float, least: float, most: float = 1.0) -> Row:
    """Judges a rate: from `least` to `most`, with 3 standard errors of the number of tries."""
    rate, slack = float(np.mean(held)), 3 * math.sqrt(nominal * (1 - nominal) / len(held))
    wrong = () if least - slack <= rate <= most + slack else (f"in {rate:.1%}",)
    return Row(label, len(held), wrong, f"in {rate:.1%}; nominal {nominal:.0%}")


def _mean(label: str, shares: list[float], least: float) -> Row:
    mean, error = float(np.mean(shares)), float(np.std(shares)) / math.sqrt(len(shares))
    wrong = (f"in {mean:.2%}",) if mean < least - 3 * error else ()
    return Row(label, len(shares), wrong, f"in {mean:.2%}; nominal {least:.0%}")
