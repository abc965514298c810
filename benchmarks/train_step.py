"""A training step against a bare PyTorch loop with the same network, batch, precision and data in memory, which augments
nothing: what augmentation costs is in ours alone."""

import gc
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.timing import Row, Setting, in_turns
from benchmarks.trainers import bare_loop, clips_a_second, in_turns_with_bare, made
from emotion_lightning.classifier import EmotionClassifier
from emotion_lightning.data import EmotionData

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
    for what, (experiment, overrides, steps) in CASES.items():
        data, model = made(experiment, **overrides)
        on_gpu = torch.cuda.is_available()
        turns = in_turns_with_bare(data, model, steps * 20 if on_gpu else steps, setting.rounds)
        goal = 0.95 if on_gpu else None if "augment.mixup" in overrides else 0.97
        yield Row(what, turns.ours, "clips/s", turns.theirs, "bare loop", goal=goal, guard=0.8)
        if what in ("ResNet34, 128 px", "ResNet34, 256 px"):
            yield half_against_full(what, data, model, steps, setting.rounds)
        del data, model, turns
        gc.collect()


def half_against_full(what: str, data: EmotionData, model: EmotionClassifier, steps: int, rounds: int) -> Row:
    """What bf16 is worth: two bare loops, so that nothing else is between them."""
    half, full = (
        partial(clips_a_second, bare_loop(data, model, name), steps, model.experiment.data.batch_size)
        for name in ("bf16-mixed", "32-true")
    )
    in_bf16, in_32_bits = in_turns(rounds, half, full)
    return Row(f"{what}, bf16 (bare loop)", in_bf16, "clips/s", in_32_bits, "32 bits", guard=1.3)
