"""What torch.compile is worth: a bare loop compiled against the same loop as it comes, and on a GPU with CUDA graphs as well.

Compiling takes a minute a network on two cores, which is not in these figures.
"""

from collections.abc import Iterator

import torch

from benchmarks.timing import Row, Setting, in_turns
from benchmarks.train_step import CASES, a_turn
from benchmarks.trainers import bare_loop, made

OPTIONAL = True
SHOWN = ("ResNet34, 128 px", "1D-CNN with attention, 20 × 108 frames")


def rows(setting: Setting) -> Iterator[Row]:
    modes = {"compiled": "default", "CUDA graphs": "reduce-overhead"}
    for what in SHOWN:
        experiment, overrides, _ = CASES[what]
        data, model = made(experiment, **overrides)
        eager = bare_loop(data, model)
        for title, mode in modes.items() if torch.cuda.is_available() else [("compiled", modes["compiled"])]:
            sides = (bare_loop(data, model, compiled=mode), eager)
            fast, plain = in_turns(setting.rounds, *(a_turn(what, model, step) for step in sides))
            yield Row(f"{what}, {title} (bare loop)", fast, "clips/s", plain, "as it comes")
