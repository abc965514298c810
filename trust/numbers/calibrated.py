"""Temperature, sets of emotions and answers, against a fine grid, whole numbers and numpy."""

import math
from fractions import Fraction

import numpy as np
import torch

from emotion_lightning.training import calibration
from trust.numbers.cases import Random, case, differ, first


def temperature(random: Random) -> str:
    """Compares with the best of a fine grid: no divisor of it may give a smaller cross-entropy."""
    labels, shares = case(random)
    logs, smoothing = np.log(np.clip(shares.astype(float), 1e-30, None)), float(random.choice([0.0, 0.05]))
    ours = calibration.temperature(torch.from_numpy(logs), torch.from_numpy(labels), smoothing)

    def loss(temperature: float) -> float:
        scaled = logs / temperature
        scaled -= np.log(np.exp(scaled - scaled.max(1, keepdims=True)).sum(1, keepdims=True))
        scaled -= logs.max(1, keepdims=True) / temperature
        of_label = scaled[np.arange(len(labels)), labels]
        return -float(((1 - smoothing) * of_label + smoothing * scaled.mean(1)).mean())

    best = min(loss(t) for t in np.geomspace(0.0101, 99, 200))
    return "" if loss(ours) <= best + 1e-4 else f"temperature {ours:.4f} loses {loss(ours):.6f}, the grid {best:.6f}"


def threshold(random: Random) -> str:
    """Counts in whole numbers: the threshold is the probability of a true emotion that ⌈(N + 1) · coverage⌉ of N reach."""
    labels, shares = case(random)
    percent = int(random.integers(50, 100))
    # of 99 clips, (N + 1) · coverage is a whole number, which 100 * 0.55 is not
    if len(labels) > 99 and random.random() < 0.5:
        labels, shares = labels[:99], shares[:99]
    found = calibration.calibrate(torch.from_numpy(labels), torch.from_numpy(shares), percent / 100)
    calibrated = found.apply(torch.from_numpy(shares)).numpy()
    of_label = np.sort(calibrated[np.arange(len(labels)), labels])[::-1]
    rank = math.ceil((len(labels) + 1) * Fraction(percent, 100))
    expected = of_label[rank - 1] if rank <= len(labels) else 0.0
    sets = found.sets(torch.from_numpy(calibrated)).numpy()
    by_hand = (calibrated >= expected) | (calibrated == calibrated.max(1, keepdims=True))
    return first(differ(found.threshold, expected, 0), differ(sets, by_hand))


def answered(random: Random) -> str:
    labels, shares = case(random)
    found = calibration.answered(torch.from_numpy(labels), torch.from_numpy(shares))
    confidence, right = shares.max(1), shares.argmax(1) == labels
    k = int(random.integers(1, len(labels) + 1))
    least = np.sort(confidence)[::-1][k - 1]
    if (confidence == least).sum() > 1:
        return ""  # which of equal clips comes first is free
    chosen = confidence >= least
    return first(differ(found.accuracy[k - 1], right[chosen].mean()), differ(found.share[k - 1], chosen.mean()))
