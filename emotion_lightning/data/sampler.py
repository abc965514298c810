"""Orders the clips of an epoch, in the same way on any number of devices."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler


class Indices(Dataset[Tensor]):
    """A data set that returns the indices that it is asked for; EmotionData looks up the clips of the whole batch."""

    def __getitem__(self, batch: Tensor) -> Tensor:
        return batch


class Batches(Sampler[Tensor]):
    """Yields batches of indices (B,).

    Shuffled batches depend on seed and epoch alone. Each rank takes its share of every batch, so that a batch has the same
    clips on any number of devices. If batches are shuffled, a shorter last batch is dropped, for batch norm and so that all
    ranks take the same number of steps.
    """

    def __init__(self, index: NDArray[np.int64], size: int, seed: int | None = None, rank: int = 0, world: int = 1):
        self.index, self.size, self.seed, self.rank, self.world = index, size, seed, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:  # called by Lightning before each epoch
        self.epoch = epoch

    def __len__(self) -> int:
        return max(1, len(self.index) // self.size) if self.seed is not None else -(-len(self.index) // self.size)

    def __iter__(self) -> Iterator[Tensor]:
        index = self.index
        if self.seed is not None:
            index = np.random.default_rng((self.seed, self.epoch)).permutation(index)
            index = index[: max(self.world, len(index) // self.world * self.world)]
        for number in range(len(self)):
            yield torch.from_numpy(index[number * self.size : (number + 1) * self.size][self.rank :: self.world])
