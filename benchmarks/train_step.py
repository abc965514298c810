"""A training step against a bare PyTorch loop with the same network, batch, precision and data in memory."""

import gc
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.timing import Row, Setting, in_turns
from benchmarks.trainers import bare_loop, in_turns_with_bare, made
from emotion_lightning.classifier import EmotionClassifier
from emotion_lightning.data import EmotionData

GUARDED = True
PICTURE = {"fit.stages.main.epochs": 500, "fit.stages.main.rounds": 1}
CASES: dict[str, tuple[str, dict[str, Any], int]] = {  # what: (experiment, overrides, steps a turn)
    "ResNet34, 128 px": (
        "resnet_scratch",
        PICTURE | {"features.height": 128, "features.width": 128, "fit.stages.main.size": 128},
        3,
    ),
    "ResNet34, 256 px": ("resnet_scratch", PICTURE, 1),
    "BiLSTM, 400 frames": ("lstm", {}, 3),
    "1D-CNN with attention, 20 × 108 frames": (
        "cnn1d_frames",
        {"fit.stages.main.epochs": 500, "features.frames": 108, "emotions.calm": "neutral"},
        10,
    ),
}


def rows(setting: Setting) -> Iterator[Row]:
    for what, (experiment, overrides, steps) in CASES.items():
        data, model = made(experiment, **overrides)
        turns = in_turns_with_bare(data, model, steps, setting.rounds)
        yield Row(what, turns.ours, "clips/s", turns.theirs, "bare loop", goal=0.97, guard=0.8)
        if what.startswith("ResNet34"):
            yield half_against_full(what, data, model, steps, setting.rounds)
        del data, model, turns
        gc.collect()


def half_against_full(what: str, data: EmotionData, model: EmotionClassifier, steps: int, rounds: int) -> Row:
    """What bf16 is worth: two bare loops, so that nothing else is between them."""
    clips = steps * model.experiment.data.batch_size

    def clips_a_second(step: Callable[[], None]) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        return clips / (time.perf_counter() - start)

    half, full = (partial(clips_a_second, bare_loop(data, model, p)) for p in ("bf16-mixed", "32-true"))
    in_bf16, in_32_bits = in_turns(rounds, half, full)
    return Row(f"{what}, bf16 (bare loop)", in_bf16, "clips/s", in_32_bits, "32 bits", guard=1.3)
