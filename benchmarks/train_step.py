"""A training step against a bare PyTorch loop with the same network, batch, precision and data in memory.

The bare loop does not augment, so only our figure includes the cost of augmentation.
"""

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.timing import Row, Setting, in_turns
from benchmarks.trainers import bare_loop, clips_per_second, in_turns_with_bare, prepare
from emotion_lightning.training.classifier import EmotionClassifier

GUARDED = True
PICTURE = {"fit.stages.main.epochs": 500, "fit.stages.main.rounds": 1}
SMALL_PICTURE = PICTURE | {"features.height": 128, "features.width": 128, "fit.stages.main.size": 128}
CASES: dict[str, tuple[str, dict[str, Any], int]] = {  # name: (experiment, overrides, steps per turn)
    "ResNet34, 128 px": ("resnet_scratch", SMALL_PICTURE, 3),
    "ResNet34, 128 px, with Mixup and image transforms": (
        "resnet_scratch",
        SMALL_PICTURE | {"augment.mixup": "{}", "augment.image_transforms": "{}"},
        3,
    ),
    "ResNet34, 256 px": ("resnet_scratch", PICTURE, 1),
    "BiLSTM, 400 frames": ("lstm", {}, 3),
    "1D-CNN with attention, 20 × 108 frames": (
        "cnn1d_frames",
        {"fit.stages.main.epochs": 500, "features.frames": 108, "emotions.calm": "neutral"},
        20,
    ),
}


def rows(setting: Setting) -> Iterator[Row]:
    on_gpu = torch.cuda.is_available()
    for case, (experiment, overrides, _) in CASES.items():
        data, model = prepare(experiment, **overrides)
        turns = in_turns_with_bare(data, model, steps(case), setting.rounds)
        goal: float | None = 0.97
        if on_gpu:
            goal = 0.95
        elif "augment.mixup" in overrides:
            goal = None
        yield Row(case, turns.ours, "clips/s", turns.theirs, "bare loop", goal=goal, guard=0.8)
        if case in ("ResNet34, 128 px", "ResNet34, 256 px"):
            loops = (bare_loop(data, model, precision) for precision in ("bf16-mixed", "32-true"))
            half, full = in_turns(setting.rounds, *(timed_turn(case, model, step) for step in loops))
            title = f"{case}, bf16 (bare loop)"
            against = "TF32" if on_gpu else "32 bits"  # on a GPU the framework computes 32 bits in TF32
            yield Row(title, half, "clips/s", full, against, goal=1.8 if on_gpu else None, guard=1.3)
        del data, model, turns
        gc.collect()


def steps(case: str) -> int:
    """Returns the number of steps in a turn, which takes at least some tenths of a second."""
    return CASES[case][2] * (20 if torch.cuda.is_available() else 1)


def timed_turn(case: str, model: EmotionClassifier, step: Callable[[], None]) -> Callable[[], float]:
    """Returns a function that runs one turn of `step` and returns clips per second."""
    return partial(clips_per_second, step, steps(case), model.experiment.data.batch_size)
