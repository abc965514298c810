"""Measures a graph: its largest difference from torch, and its time for one clip on one thread."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from emotion_lightning.data.audio import Waveform
from emotion_lightning.serving.onnx.about import CLIP_SECONDS, Speed
from emotion_lightning.serving.recogniser import batched

Predict = Callable[[Sequence[Waveform]], NDArray[np.float32]]
MIXED = 8  # clips of different lengths in a batch
ALONE = 20  # clips that are also predicted one by one
ROUNDS, LONGEST = 100, 10.0  # repetitions of the timed clip, and the seconds that they may take


def largest_difference(predict: Predict, expected: NDArray[np.float32], waves: Sequence[Waveform]) -> float:
    """Returns the largest difference from the expected probabilities (N, classes), in mixed batches and for clips alone.

    It is infinite for a graph that cannot compute one of these batches.
    """
    order = np.random.default_rng(0).permutation(len(waves)).tolist()
    batches = [*batched(order, MIXED), *([i] for i in order[:ALONE])]
    try:
        differences = [np.abs(predict([waves[i] for i in batch]) - expected[batch]).max() for batch in batches]
    except Exception as error:  # ONNX Runtime has an exception of its own for each status
        if type(error).__module__.startswith("onnxruntime"):
            return np.inf
        raise
    largest = float(np.max(differences))
    return largest if np.isfinite(largest) else np.inf


def speed(predict: Predict, wave: Waveform, rate: int) -> Speed:
    """Returns the time for this waveform (samples,), repeated to 3 s; `predict` has to be limited to one thread itself."""
    clip = np.resize(wave, round(CLIP_SECONDS * rate))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(3):
            predict([clip])
        taken: list[float] = []
        while len(taken) < ROUNDS and sum(taken) < LONGEST:
            start = time.perf_counter()
            predict([clip])
            taken.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    p50, p95 = np.percentile(taken, [50, 95]) * 1000
    return Speed(p50_ms=float(p50), p95_ms=float(p95))
