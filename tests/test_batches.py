"""The order of clips in an epoch, on any number of ranks."""

from collections import Counter
from itertools import chain

import numpy as np
import pytest

from emotion_lightning.data.sampler import Batches


def epoch_of(batches: Batches, epoch: int = 0) -> list[list[int]]:
    batches.set_epoch(epoch)
    found = [batch.tolist() for batch in batches]
    assert len(found) == len(batches)
    return found


INDEX = np.arange(1_000, 1_050)  # 50 clips


@pytest.mark.parametrize("world", [2, 4])
@pytest.mark.parametrize("count", [48, 49, 50])
def test_ranks_share_the_batches_that_one_device_would_see(world: int, count: int) -> None:
    index = INDEX[:count]
    for epoch in (0, 3):
        alone = epoch_of(Batches(index, 8, seed=1), epoch)
        ranks = [epoch_of(Batches(index, 8, 1, rank, world), epoch) for rank in range(world)]
        assert {len(batch) for rank in ranks for batch in rank} == {8 // world}
        together = [
            [clip for share in zip(*shares, strict=True) for clip in share] for shares in zip(*ranks, strict=True)
        ]
        assert together == alone


def test_every_epoch_has_another_order_and_every_seed_its_own() -> None:
    orders = {(seed, epoch): str(epoch_of(Batches(INDEX, 8, seed), epoch)) for seed in (0, 1) for epoch in range(4)}
    assert len(set(orders.values())) == 8
    assert orders == {
        (seed, epoch): str(epoch_of(Batches(INDEX, 8, seed), epoch)) for seed in (0, 1) for epoch in range(4)
    }


def test_an_epoch_shows_each_clip_once_but_for_a_short_last_batch() -> None:
    left_out = Counter[int]()
    for epoch in range(40):
        batches = epoch_of(Batches(INDEX, 8, seed=0), epoch)
        seen = list(chain(*batches))
        assert [len(batch) for batch in batches] == [8] * 6
        assert len(set(seen)) == 48
        assert set(seen) <= set(INDEX.tolist())
        left_out.update(set(INDEX.tolist()) - set(seen))
    assert len(left_out) > 30  # others each time
    assert {tuple(sorted(chain(*epoch_of(Batches(INDEX[:48], 8, 0), e)))) for e in range(3)} == {tuple(INDEX[:48])}


def test_fewer_clips_than_a_batch_are_one_short_batch() -> None:
    (batch,) = epoch_of(Batches(INDEX[:5], 8, seed=0))
    assert sorted(batch) == INDEX[:5].tolist()
    ranks = [epoch_of(Batches(INDEX[:5], 8, 0, rank, 2)) for rank in (0, 1)]
    assert [[len(batch) for batch in rank] for rank in ranks] == [[2], [2]]  # in step


def test_without_a_seed_the_order_is_kept_and_the_last_batch_is_short() -> None:
    for epoch in (0, 1):
        batches = epoch_of(Batches(INDEX, 8), epoch)
        assert list(chain(*batches)) == INDEX.tolist()
        assert [len(batch) for batch in batches] == [8] * 6 + [2]
