"""Stages → cycles → learning rates, held against torch's own schedulers and the paper's numbers."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emotion_lightning.config import loader as settings
from emotion_lightning.config.schema import Stage
from emotion_lightning.training.schedule import Cycle, cycles, group_rates, rate_and_momentum


def cycle(**changes: Any) -> Cycle:
    plain: dict[str, Any] = {
        "first": 0, "epochs": 5, "frozen": False, "size": None, "lr": 1e-3, "spread": 1.0, "peak": 0.25,
        "shape": "one_cycle", "decay": 0.9,
    }  # fmt: skip
    return Cycle(**{**plain, **changes})


def one_cycle_of_torch(peak: float, steps: int) -> list[tuple[float, float]]:
    """(factor on the peak rate, beta1) at every step; fastai's 1/25 → 1 → 1/100 000, where 100 000 = 25 · 4000."""
    optimizer = torch.optim.AdamW([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, total_steps=steps, pct_start=peak, three_phase=False, anneal_strategy="cos",
        div_factor=25, final_div_factor=4000, base_momentum=0.85, max_momentum=0.95,
    )  # fmt: skip
    course = []
    for step in range(steps):
        course.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"][0]))
        optimizer.step()
        if step < steps - 1:
            scheduler.step()
    return course


def test_the_papers_66_epochs() -> None:
    plan = cycles(settings.load("resnet_aug").fit.stages)
    small, large = plan[:6], plan[6:]
    assert [(c.epochs, c.frozen, c.size) for c in small] == [(5, True, 128)] * 6
    assert [(c.epochs, c.frozen, c.size) for c in large] == [(1, True, 256), (5, False, 256)] * 6
    assert sum(c.epochs for c in plan) == 66
    assert {c.peak for c in plan if c.frozen} == {0.25}
    assert {c.peak for c in plan if not c.frozen} == {0.3}


def test_the_papers_rates_from_the_stem_to_the_head() -> None:
    """fastai's fine_tune: the frozen epoch at lr, then lr/200 at the stem to lr/2 at the head."""
    stages = settings.load("resnet_aug").fit.stages
    plan = cycles(stages)
    lr = stages["large"].lr
    frozen, unfrozen = plan[6], plan[7]
    assert group_rates(frozen, 3) == pytest.approx([lr] * 3)
    assert group_rates(unfrozen, 3) == pytest.approx([lr / 200, lr / 20, lr / 2])


@given(
    st.lists(
        st.builds(Stage, rounds=st.integers(1, 4), frozen_epochs=st.integers(0, 3), epochs=st.integers(0, 3)),
        max_size=4,
    )
)
def test_cycles_follow_one_another_without_a_gap(stages: list[Stage]) -> None:
    plan = cycles({str(i): stage for i, stage in enumerate(stages)})
    assert sum(c.epochs for c in plan) == sum(s.rounds * (s.frozen_epochs + s.epochs) for s in stages)
    assert all(c.epochs > 0 for c in plan)
    assert all(after.first == before.first + before.epochs for before, after in pairwise(plan))
    assert not plan or plan[0].first == 0


@pytest.mark.parametrize("peak", [0.1, 0.25, 0.3, 0.7])
def test_one_cycle_is_torchs_at_matched_points(peak: float) -> None:
    """torch counts steps: its peak is at step peak·N - 1 and its end at step N - 1. At those shares of the way up and
    down the two are one formula, so only rounding remains."""
    steps = 400
    top = peak * steps - 1
    for step, (rate, momentum) in enumerate(one_cycle_of_torch(peak, steps)):
        way = step / top if step <= top else 1 + (step - top) / (steps - 1 - top)  # 0 start, 1 peak, 2 end
        progress = way * peak if way <= 1 else peak + (way - 1) * (1 - peak)
        assert rate_and_momentum(cycle(peak=peak), progress) == pytest.approx((rate, momentum), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("peak", [0.25, 0.3])
def test_one_cycle_is_torchs_step_by_step_to_within_a_step(peak: float) -> None:
    """At progress step/N ours lies at most about 1/N from torch's place, and a half cosine over the share `peak` climbs
    no faster than π/2/peak: so they differ by no more than π/2/peak/N, and a tenth more for rounding up."""
    steps = 1000
    near = 1.1 * math.pi / 2 / peak / steps
    for step, (rate, momentum) in enumerate(one_cycle_of_torch(peak, steps)):
        ours = rate_and_momentum(cycle(peak=peak), step / steps)
        assert ours == (pytest.approx(rate, abs=near), pytest.approx(momentum, abs=near))


def test_one_cycle_starts_peaks_and_ends_where_fastais_does() -> None:
    assert rate_and_momentum(cycle(), 0.0) == pytest.approx((1 / 25, 0.95))
    assert rate_and_momentum(cycle(), 0.25) == pytest.approx((1.0, 0.85))
    assert rate_and_momentum(cycle(), 1.0) == pytest.approx((1e-5, 0.95))


def test_exponential_loses_a_tenth_an_epoch_and_nothing_within_one() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    epochs, steps = 200, 27  # the paper's LSTM: 200 epochs of 27 batches
    for epoch in range(epochs):
        for step in (0, 1, steps - 1):
            progress = (epoch * steps + step) / (epochs * steps)
            rate, momentum = rate_and_momentum(cycle(shape="exponential", epochs=epochs), progress)
            assert (rate, momentum) == (pytest.approx(optimizer.param_groups[0]["lr"]), 0.9)
        optimizer.step()
        scheduler.step()


def test_constant_stays() -> None:
    assert {rate_and_momentum(cycle(shape="constant"), progress / 10) for progress in range(11)} == {(1.0, 0.9)}


@pytest.mark.parametrize("groups", [1, 2, 3, 5])
def test_layer_wise_rates_are_geometric(groups: int) -> None:
    rates = group_rates(cycle(lr=2e-3, spread=100.0), groups)
    assert len(rates) == groups
    assert rates[-1] == pytest.approx(2e-3)
    if groups > 1:
        assert rates[0] == pytest.approx(2e-5)
        assert [b / a for a, b in pairwise(rates)] == pytest.approx([100 ** (1 / (groups - 1))] * (groups - 1))


def test_without_a_spread_every_layer_has_the_heads_rate() -> None:
    assert group_rates(cycle(lr=2e-3, spread=1.0), 3) == pytest.approx([2e-3] * 3)
