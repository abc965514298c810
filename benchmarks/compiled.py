"""The gain of torch.compile: a compiled bare loop against the same loop not compiled; on a GPU also with CUDA graphs.

Compiling takes a minute per network on two cores, which is not in these figures.
"""

from collections.abc import Iterator

import torch

from benchmarks.timing import Row, Setting, in_turns
from benchmarks.train_step import CASES, timed_turn
from benchmarks.trainers import bare_loop, prepare

OPTIONAL = True
SHOWN = ("ResNet34, 128 px", "1D-CNN with attention, 20 × 108 frames")


def rows(setting: Setting) -> Iterator[Row]:
    modes = {"compiled": "default"}
    if torch.cuda.is_available():
        modes["CUDA graphs"] = "reduce-overhead"
    for case in SHOWN:
        experiment, overrides, _ = CASES[case]
        data, model = prepare(experiment, **overrides)
        eager = bare_loop(data, model)
        for title, mode in modes.items():
            steps = (bare_loop(data, model, compiled=mode), eager)
            fast, plain = in_turns(setting.rounds, *(timed_turn(case, model, step) for step in steps))
            yield Row(f"{case}, {title} (bare loop)", fast, "clips/s", plain, "not compiled")
