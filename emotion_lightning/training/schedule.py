"""Learning rates, momentum and freezing by epoch and step, as a pure function of an experiment's stages.

Nothing here has a state, so nothing has to be restored when a run is resumed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from emotion_lightning.config.schema import Stage


@dataclass(frozen=True)
class Cycle:
    """Epochs `first`…`first + epochs - 1` (from 0) with one schedule of the learning rate."""

    first: int
    epochs: int
    frozen: bool
    size: int | None  # pixels
    lr: float  # the head's peak
    spread: float  # head's rate / stem's rate
    peak: float  # share of the cycle at which one_cycle peaks
    shape: str
    decay: float


def cycles(stages: Mapping[str, Stage]) -> list[Cycle]:
    """Returns the cycles in the order of the stages: each round is a frozen cycle, then one with every layer.

    A cycle without epochs is left out.
    """
    result: list[Cycle] = []
    for stage in stages.values():
        for _ in range(stage.rounds):
            for frozen, epochs in ((True, stage.frozen_epochs), (False, stage.epochs)):
                if epochs:
                    first = result[-1].first + result[-1].epochs if result else 0
                    lr = stage.lr * (1.0 if frozen else stage.unfrozen_lr)
                    spread = 1.0 if frozen else stage.lr_spread
                    peak = stage.peak if frozen else stage.unfrozen_peak
                    result.append(
                        Cycle(first, epochs, frozen, stage.size, lr, spread, peak, stage.shape, stage.decay)
                    )
    return result


def rate_and_momentum(cycle: Cycle, progress: float) -> tuple[float, float]:
    """Returns the factor on the peak learning rate, and beta1, at `progress` 0…1 of the cycle.

    one_cycle is fastai's: cosine from 1/25 up to 1 at the peak and down to 1/100 000; momentum 0.95 → 0.85 → 0.95.
    """
    if cycle.shape == "constant":
        return 1.0, 0.9
    if cycle.shape == "exponential":
        return cycle.decay ** int(progress * cycle.epochs + 1e-9), 0.9
    if progress < cycle.peak:
        return _cosine(1 / 25, 1.0, progress / cycle.peak), _cosine(0.95, 0.85, progress / cycle.peak)
    rest = (progress - cycle.peak) / (1 - cycle.peak)
    return _cosine(1.0, 1e-5, rest), _cosine(0.85, 0.95, rest)


def group_rates(cycle: Cycle, groups: int) -> list[float]:
    """Returns the peak learning rate of each layer group, from the input to the head: geometric from lr / spread to lr."""
    if groups == 1:
        return [cycle.lr]
    return [cycle.lr / cycle.spread ** (1 - i / (groups - 1)) for i in range(groups)]


def _cosine(start: float, end: float, share: float) -> float:
    return start + (end - start) * (1 - math.cos(math.pi * share)) / 2
