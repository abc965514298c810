"""What torch.compile is worth: a bare loop compiled against the same loop as it comes, and on a GPU with CUDA graphs as well.

Compiling takes a minute a network on two cores, which is not in these figures.
"""

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.timing import Row, Setting, in_turns
from benchmarks.train_step import CASES
from benchmarks.trainers import bare_loop, clips_a_second, made

OPTIONAL = True
SHOWN = ("ResNet34, 128 px", "1D-CNN with attention, 20 × 108 frames")


def rows(setting: Setting) -> Iterator[Row]:
    modes = {"compiled": "default", "CUDA graphs": "reduce-overhead"}
    for what in SHOWN:
        experiment, overrides, steps = CASES[what]
        data, model = made(experiment, **overrides)
        eager = bare_loop(data, model)
        for title, mode in modes.items() if torch.cuda.is_available() else [("compiled", modes["compiled"])]:
            steps_of = (bare_loop(data, model, compiled=mode), eager)
            sides = (partial(clips_a_second, step, steps, model.experiment.data.batch_size) for step in steps_of)
            fast, plain = in_turns(setting.rounds, *sides)
            yield Row(f"{what}, {title} (bare loop)", fast, "clips/s", plain, "as it comes")
