"""A training step against a bare PyTorch loop with the same network, batch, precision and data in memory, which augments
nothing: what augmentation costs is in ours alone."""

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.timing import Row, Setting, in_turns
from benchmarks.trainers import bare_loop, clips_a_second, in_turns_with_bare, made
from emotion_lightning.training.classifier import EmotionClassifier

GUARDED = True
PICTURE = {"fit.stages.main.epochs": 500, "fit.stages.main.rounds": 1}
SMALL_PICTURE = PICTURE | {"features.height": 128, "features.width": 128, "fit.stages.main.size": 128}
CASES: dict[str, tuple[str, dict[str, Any], int]] = {  # what: (experiment, overrides, steps a turn)
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
    for what, (experiment, overrides, _) in CASES.items():
        data, model = made(experiment, **overrides)
        turns = in_turns_with_bare(data, model, steps(what), setting.rounds)
        goal = 0.95 if on_gpu else None if "augment.mixup" in overrides else 0.97
        yield Row(what, turns.ours, "clips/s", turns.theirs, "bare loop", goal=goal, guard=0.8)
        if what in ("ResNet34, 128 px", "ResNet34, 256 px"):
            sides = (bare_loop(data, model, precision) for precision in ("bf16-mixed", "32-true"))
            half, full = in_turns(setting.rounds, *(a_turn(what, model, step) for step in sides))
            title = f"{what}, bf16 (bare loop)"
            against = "TF32" if on_gpu else "32 bits"  # what the framework computes 32 bits in
            yield Row(title, half, "clips/s", full, against, goal=1.8 if on_gpu else None, guard=1.3)
        del data, model, turns
        gc.collect()


def steps(what: str) -> int:
    """Of a turn: some tenths of a second at least."""
    return CASES[what][2] * (20 if torch.cuda.is_available() else 1)


def a_turn(what: str, model: EmotionClassifier, step: Callable[[], None]) -> Callable[[], float]:
    """A turn of `step`, which gives clips a second."""
    return partial(clips_a_second, step, steps(what), model.experiment.data.batch_size)
