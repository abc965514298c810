"""What every augmentation keeps to, and what each does, measured on its output."""

import math
from itertools import pairwise
from typing import cast

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from emotion_lightning.augment import STAGES, Augmentation
from emotion_lightning.augment.image_transforms import change_light, warp
from emotion_lightning.config import parts

Three = tuple[Tensor, Tensor, Tensor]
CLIPS, CLASSES = 8, 8
WAVEFORM, PICTURE, LOG_MEL = (CLIPS, 16_000), (CLIPS, 3, 64, 48), (CLIPS, 1, 40, 100)
NAMES = [name for name in parts.names("augment") if parts.entry("augment", name)().stage != "rows"]  # test_rows.py


def built(name: str, **args: float) -> Augmentation:
    return cast(Augmentation, parts.entry("augment", name)(**args))


def made_up(shape: tuple[int, ...], seed: int = 0) -> Three:
    """Clips of unequal length, zero behind their end; each of another class."""
    chance = torch.Generator().manual_seed(seed)
    x = torch.rand(shape, generator=chance)
    share = torch.linspace(0.5, 1.0, shape[0])
    extent = (share * shape[-1]).long() if len(shape) == 2 else share
    ends = (share * shape[-1]).long().view(-1, *[1] * (len(shape) - 1))
    x = x * (torch.arange(shape[-1]) < ends)
    x = 2 * x - 1 if len(shape) == 2 else x
    return x * (torch.arange(shape[-1]) < ends), extent, torch.eye(CLASSES)[torch.arange(shape[0]) % CLASSES]


def shapes(name: str) -> list[tuple[int, ...]]:
    return [WAVEFORM] if built(name).stage == "waveform" else [PICTURE, LOG_MEL]


ON_SHAPES = pytest.mark.parametrize(
    ("name", "shape"), [pytest.param(n, s, id=f"{n}-{'x'.join(map(str, s))}") for n in NAMES for s in shapes(n)]
)


def applied(name: str, three: Three, seed: int) -> Three:
    torch.manual_seed(seed)
    return cast(Three, built(name)(*three))


# ---------------------------------------------------------------- every augmentation


@pytest.mark.parametrize("name", NAMES)
def test_an_augmentation_names_its_stage(name: str) -> None:
    assert built(name).stage in STAGES


@ON_SHAPES
def test_shapes_and_types_are_kept(name: str, shape: tuple[int, ...]) -> None:
    before = made_up(shape)
    for old, new in zip(before, applied(name, before, 0), strict=True):
        assert (new.shape, new.dtype) == (old.shape, old.dtype)


@ON_SHAPES
def test_what_comes_out_is_finite_and_targets_are_shares(name: str, shape: tuple[int, ...]) -> None:
    for seed in range(5):
        x, extent, targets = applied(name, made_up(shape), seed)
        assert x.isfinite().all()
        assert (extent > 0).all()
        assert (extent <= (shape[-1] if len(shape) == 2 else 1)).all()
        assert (targets >= 0).all()
        torch.testing.assert_close(targets.sum(1), torch.ones(CLIPS))


@ON_SHAPES
def test_one_seed_gives_one_result(name: str, shape: tuple[int, ...]) -> None:
    one, again = applied(name, made_up(shape), 3), applied(name, made_up(shape), 3)
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))


@ON_SHAPES
def test_seeds_change_the_clips(name: str, shape: tuple[int, ...]) -> None:
    x, extent, _ = made_up(shape)
    before = x, extent, torch.eye(CLASSES)[torch.arange(CLIPS) % 2]  # of two emotions, for what works within one
    results = [applied(name, before, seed)[0] for seed in range(3)]
    assert any(not torch.equal(x, made_up(shape)[0]) for x in results)
    assert any(not torch.equal(x, results[0]) for x in results[1:])


@ON_SHAPES
def test_what_goes_in_is_not_written_into(name: str, shape: tuple[int, ...]) -> None:
    before = made_up(shape)
    applied(name, before, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, made_up(shape), strict=True))


@ON_SHAPES
def test_a_single_clip_can_be_augmented(name: str, shape: tuple[int, ...]) -> None:
    x, extent, targets = made_up(shape)
    single = applied(name, (x[-1:], extent[-1:], targets[-1:]), 0)
    assert single[0].isfinite().all()
    assert torch.equal(single[2], targets[-1:])


# ---------------------------------------------------------------- mixup


def mixed(count: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """x, mixed x, λ (count,), partner (count,), mixed extent; each clip a class of its own, so targets tell all."""
    torch.manual_seed(seed)
    x = torch.rand(count, 1, 4, 5)
    new, extent, targets = built("mixup")(x, torch.linspace(0.1, 1, count), torch.eye(count))
    share = targets.diagonal()
    others = targets - torch.diag(share)
    partner = torch.where(others.sum(1) > 0, others.argmax(1), torch.arange(count))
    return x, new, share, partner, extent


def test_mixup_leaves_each_clip_the_larger_share() -> None:
    _, _, share, _, _ = mixed(300)
    assert (share >= 0.5).all()
    assert (share <= 1).all()


def test_mixup_blends_the_clips_as_it_blends_the_labels() -> None:
    x, new, share, partner, extent = mixed(50)
    for i, other in enumerate(partner.tolist()):
        torch.testing.assert_close(new[i], share[i] * x[i] + (1 - share[i]) * x[other])
    assert sorted(partner.tolist()) == list(range(50))
    own = torch.linspace(0.1, 1, 50)
    assert torch.equal(extent, torch.maximum(own, own[partner]))


def test_mixup_draws_a_share_for_each_clip_from_the_folded_beta() -> None:
    """max(b, 1 - b) with b ~ Beta(0.4, 0.4) has the distribution function 2 I(t) - 1 on 0.5…1."""
    _, _, share, partner, _ = mixed(2000)
    drawn = share[partner != torch.arange(2000)].double().numpy()
    fit = stats.kstest(drawn, lambda t: np.clip(2 * stats.beta.cdf(t, 0.4, 0.4) - 1, 0, 1))
    assert fit.pvalue > 1e-3
    wrong = stats.kstest(drawn, lambda t: np.clip(2 * stats.beta.cdf(t, 0.6, 0.6) - 1, 0, 1))
    assert wrong.pvalue < 1e-3


# ---------------------------------------------------------------- image transforms


def picture(height: int = 32, width: int = 32, clips: int = 2) -> Tensor:
    """(clips, 3, height, width), every pixel another value within 0.05…0.95."""
    return 0.05 + 0.9 * torch.rand(clips, 3, height, width, generator=torch.Generator().manual_seed(0))


def turned(x: Tensor, degrees: float, zoom: float = 1.0) -> Tensor:
    return warp(x, torch.full((len(x),), degrees), torch.full((len(x),), zoom))


@pytest.mark.parametrize("off", [{"max_rotate": 0.0, "max_zoom": 1.0, "max_lighting": 0.0, "p": 1.0}, {"p": 0.0}])
@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
def test_image_transforms_of_size_zero_change_nothing(off: dict[str, float], size: tuple[int, int]) -> None:
    x, extent, targets = picture(*size), torch.ones(2), torch.eye(2)
    torch.testing.assert_close(built("image_transforms", **off)(x, extent, targets)[0], x, atol=1e-3, rtol=0)


def test_a_quarter_turn_is_rot90() -> None:
    x = picture()
    one, other = turned(x, 90.0), turned(x, -90.0)
    expected = [torch.rot90(x, k, (2, 3)) for k in (1, 3)]
    matches = [[torch.allclose(mine, theirs, atol=1e-3) for theirs in expected] for mine in (one, other)]
    assert matches in ([[True, False], [False, True]], [[False, True], [True, False]])


@pytest.mark.parametrize("size", [(32, 32), (24, 40), (40, 24)])
def test_half_a_turn_flips_both_axes_of_any_picture(size: tuple[int, int]) -> None:
    x = picture(*size)
    torch.testing.assert_close(turned(x, 180.0), x.flip(2, 3), atol=1e-3, rtol=0)


def test_a_quarter_turn_of_a_wide_picture_turns_its_middle() -> None:
    """Pixels stay square: the middle 20×20 of a 20×40 picture turns as if it stood alone."""
    x = picture(20, 40)
    middle = turned(x, 90.0)[..., 10:30]
    assert any(torch.allclose(middle, torch.rot90(x[..., 10:30], k, (2, 3)), atol=1e-3) for k in (1, 3))


def test_each_picture_has_its_own_turn() -> None:
    x = picture()
    two = warp(x, torch.tensor([0.0, 180.0]), torch.ones(2))
    torch.testing.assert_close(two, torch.stack([x[0], x[1].flip(1, 2)]), atol=1e-3, rtol=0)


def test_zoom_by_two_halves_the_slope_of_a_ramp() -> None:
    ramp = torch.linspace(0, 1, 41).expand(1, 1, 41, 41)
    zoomed = turned(ramp, 0.0, 2.0)
    torch.testing.assert_close(zoomed[0, 0, 20], torch.linspace(0.25, 0.75, 41), atol=1e-3, rtol=0)


def test_a_turn_and_a_zoom_together_are_the_one_after_the_other() -> None:
    x = picture()
    one, other = turned(x, 90.0, 2.0), turned(turned(x, 0.0, 2.0), 90.0)
    torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_brightness_of_a_half_and_contrast_of_one_change_nothing() -> None:
    x = picture()
    torch.testing.assert_close(change_light(x, torch.full((2,), 0.5), torch.ones(2)), x, atol=1e-3, rtol=0)


def test_more_brightness_makes_every_pixel_brighter() -> None:
    x = picture(clips=1)
    steps = [change_light(x, torch.tensor([b]), torch.ones(1)) for b in (0.3, 0.45, 0.5, 0.55, 0.7)]
    assert all((after > before).all() for before, after in pairwise(steps))


def test_more_contrast_moves_every_pixel_from_grey() -> None:
    x = picture(clips=1)
    steps = [
        (change_light(x, torch.full((1,), 0.5), torch.tensor([c])) - 0.5).abs() for c in (0.5, 0.9, 1.0, 1.1, 2.0)
    ]
    assert all((after > before).all() for before, after in pairwise(steps))


def test_a_lit_picture_stays_within_its_range() -> None:
    x = torch.tensor([0.0, 0.5, 1.0]).expand(1, 3, 4, 3)
    for brightness, contrast in ((0.05, 5.0), (0.95, 5.0), (0.5, 0.1)):
        lit = change_light(x, torch.tensor([brightness]), torch.tensor([contrast]))
        assert 0 <= float(lit.min()) <= float(lit.max()) <= 1


def test_three_quarters_of_the_pictures_are_turned() -> None:
    """400 draws at p = 0.75 lie within 5 deviations, 0.11, of it."""
    torch.manual_seed(0)
    x = picture(8, 8, clips=400)
    only_turns = built("image_transforms", max_zoom=1.0, max_lighting=0.0)
    new = only_turns(x, torch.ones(400), torch.ones(400, 1))[0]
    share = float(((new - x).abs().amax((1, 2, 3)) > 2e-3).float().mean())
    assert share == pytest.approx(0.75, abs=0.11)


# ---------------------------------------------------------------- noise


def snr_db(**args: float) -> Tensor:
    """(16,) measured on 4 s at 16 kHz, over the part of each clip that is valid."""
    torch.manual_seed(0)
    lengths = torch.linspace(32_000, 64_000, 16).long()
    valid = torch.arange(64_000) < lengths[:, None]
    clean = torch.randn(16, 64_000) * torch.linspace(0.001, 1, 16)[:, None] * valid
    noise = built("noise", **args)(clean, lengths, torch.ones(16, 1))[0] - clean
    assert (noise[~valid] == 0).all()
    return 10 * torch.log10(clean.square().sum(1) / noise.square().sum(1))


@pytest.mark.parametrize("level", [0.0, 10.0, 30.0])
def test_noise_has_the_level_asked_for_and_ends_with_the_clip(level: float) -> None:
    """The power of 32 000 normal samples has a relative deviation of √(2/32000): 0.034 dB."""
    measured = snr_db(min_snr_db=level, max_snr_db=level, p=1.0)
    assert measured.tolist() == pytest.approx([level] * 16, abs=0.5)


def test_noise_levels_are_drawn_over_the_range() -> None:
    measured = snr_db(p=1.0)
    assert measured.min() > 10 - 0.5
    assert measured.max() < 30 + 0.5
    assert measured.max() - measured.min() > 10


def test_noise_comes_under_half_of_the_clips() -> None:
    torch.manual_seed(0)
    clean = torch.randn(400, 100)
    noisy = built("noise")(clean, torch.full((400,), 100), torch.ones(400, 1))[0]
    share = float((noisy != clean).any(1).float().mean())
    assert share == pytest.approx(0.5, abs=5 * math.sqrt(0.25 / 400))


# ---------------------------------------------------------------- spec_augment


def runs(mask: Tensor) -> int:
    return int((mask & ~torch.cat([torch.zeros(1, dtype=torch.bool), mask[:-1]])).sum())


@pytest.mark.parametrize("channels", [1, 3])
def test_spec_augment_masks_at_most_two_stripes_of_twenty_each_way(channels: int) -> None:
    torch.manual_seed(0)
    x = torch.rand(32, channels, 80, 200) + 1
    new = built("spec_augment")(x, torch.ones(32), torch.ones(32, 1))[0]
    masked = (new != x).flatten(0, 1)
    bands, frames = masked.all(2), masked.all(1)  # (clips, 80), (clips, 200)
    assert torch.equal(masked, bands[:, :, None] | frames[:, None, :])
    assert bands.sum(1).max() <= 40
    assert frames.sum(1).max() <= 40
    assert max(runs(row) for row in [*bands, *frames]) <= 2
    assert bands.any(1).float().mean() > 0.9
    assert frames.any(1).float().mean() > 0.9
    assert len(set(map(tuple, frames.tolist()))) > 16
    torch.testing.assert_close(new[new != x], x.mean((0, 3), keepdim=True).expand_as(x)[new != x])


def test_spec_augment_masks_only_frames_of_the_clip() -> None:
    """A mask that lay in the padding would change nothing, so the hidden frames would be fewer in short clips."""
    torch.manual_seed(0)
    counts = torch.tensor([30, 60, 100, 200]).repeat(250)
    valid = torch.arange(200) < counts[:, None]  # (clips, T)
    x = torch.rand(1000, 1, 8, 200) + 1
    x = torch.where(valid[:, None, None], x, torch.tensor(-80.0))
    new = built("spec_augment", masks=1, max_bands=0)(x, counts / 200, torch.ones(1000, 1))[0]
    masked = (new != x)[:, 0].all(1)
    assert not (masked & ~valid).any()
    widths = masked.sum(1)
    for count in (30, 60, 100, 200):
        own = widths[counts == count]
        assert sorted(set(own.tolist())) == list(range(21))  # 0…20 frames, whatever the length of the clip
        assert float(own.float().mean()) == pytest.approx(10, abs=5 * 6.06 / 250**0.5)  # deviation of 0…20: 6.06
        first, last = masked[counts == count, 0], masked[counts == count, count - 1]
        assert first.any() and last.any()


def test_spec_augment_limits_a_mask_to_a_clip_shorter_than_it() -> None:
    torch.manual_seed(0)
    x = torch.rand(400, 1, 4, 50) + 1
    new = built("spec_augment", masks=1, max_bands=0)(x, torch.full((400,), 0.1), torch.ones(400, 1))[0]
    widths = (new != x)[:, 0].all(1).sum(1)
    assert sorted(set(widths.tolist())) == [0, 1, 2, 3, 4, 5]
    assert torch.equal(new[..., 5:], x[..., 5:])


def test_spec_augment_fills_with_the_mean_of_the_frames_of_the_clips() -> None:
    torch.manual_seed(0)
    x = torch.rand(8, 2, 20, 100)
    x[:4, :, :, 40:] = -80  # after the end
    extent = torch.tensor([0.4] * 4 + [1.0] * 4)
    new = built("spec_augment")(x, extent, torch.ones(8, 1))[0]
    for channel in range(2):
        for band in range(20):
            expected = np.concatenate([*x[:4, channel, band, :40].numpy(), *x[4:, channel, band].numpy()]).mean()
            is_new = new[:, channel, band] != x[:, channel, band]
            assert new[:, channel, band][is_new].numpy() == pytest.approx(expected, abs=1e-5)
    assert torch.equal(new[:4, :, :, 40:], x[:4, :, :, 40:])


def test_spec_augment_fills_each_mfcc_with_its_own_mean() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 1, 20, 100)
    x[:, :, 0] -= 500  # the level, far from all other coefficients
    new = built("spec_augment")(x, torch.ones(8), torch.ones(8, 1))[0]
    assert new[:, :, 0].max() < -490 and new[:, :, 1:].min() > -10


def test_spec_augment_without_masks_changes_nothing() -> None:
    x, extent, targets = made_up(LOG_MEL)
    for off in ({"masks": 0}, {"max_bands": 0, "max_frames": 0}):
        assert torch.equal(built("spec_augment", **off)(x, extent, targets)[0], x)
