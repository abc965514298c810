"""CutMix and time warping, measured on their output and against numpy."""

import numpy as np
import pytest
import torch
from test_augment import LOG_MEL, PICTURE, built, made_up

from emotion_lightning.augment.time_warp import _resampled, _source


@pytest.mark.parametrize("shape", [PICTURE, LOG_MEL])
def test_cutmix_replaces_one_rectangle_and_labels_by_its_area(shape: tuple[int, ...]) -> None:
    x, extent, targets = made_up(shape)
    for seed in range(10):
        torch.manual_seed(seed)
        mixed, _, labels = built("cutmix")(x, extent, targets)
        for clip in range(len(x)):
            partner = int((labels[clip] - targets[clip] * labels[clip, clip]).argmax())
            share = 1 - labels[clip, clip]
            other = (mixed[clip] != x[clip]).any(0)  # (F, T)
            rows, columns = other.any(1).nonzero()[:, 0], other.any(0).nonzero()[:, 0]
            if not len(rows):
                continue  # all of its rectangle shows what both clips have, or it has its own clip as partner
            box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
            assert torch.equal(mixed[clip][:, *box], x[partner][:, *box])
            area = (box[0].stop - box[0].start) * (box[1].stop - box[1].start) / (shape[2] * shape[3])
            assert (
                area <= share + 1e-5
            )  # frames after the end of both clips are alike, so the difference may be smaller


def test_cutmix_of_a_full_clip_labels_by_the_share_of_changed_pixels() -> None:
    x = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 20, 30).contiguous()  # each clip has its own value
    torch.manual_seed(0)
    mixed, _, labels = built("cutmix")(x, torch.ones(8), torch.eye(8))
    for clip in range(8):
        counts = torch.bincount(mixed[clip].flatten().long(), minlength=8) / 600
        torch.testing.assert_close(labels[clip], counts)
    assert len({round(float(labels[i, i]), 3) for i in range(8)}) > 4  # each clip has its own draw


@pytest.mark.parametrize("name", ["cutmix", "time_warp"])
def test_at_probability_zero_nothing_changes(name: str) -> None:
    for shape in (PICTURE, LOG_MEL):
        before = made_up(shape)
        for old, new in zip(before, built(name, p=0.0)(*before), strict=True):
            torch.testing.assert_close(new, old)


@pytest.mark.parametrize("name", ["cutmix", "time_warp"])
def test_clips_of_one_frame_and_silent_clips_survive(name: str) -> None:
    silent = (torch.zeros(4, 1, 8, 10), torch.tensor([0.1, 0.2, 0.3, 1.0]), torch.eye(4))
    one_frame = (torch.rand(4, 1, 8, 1), torch.ones(4), torch.eye(4))
    for seed in range(20):
        torch.manual_seed(seed)
        assert torch.equal(built(name)(*silent)[0], silent[0])
        assert built(name, p=1.0)(*one_frame)[0].isfinite().all()


def test_a_warp_moves_one_frame_and_keeps_both_ends() -> None:
    last, place, moved = torch.tensor([49.0]), torch.tensor([20.0]), torch.tensor([26.0])
    source = _source(60, last, place, moved)[0]
    assert source[0] == 0 and source[26] == 20 and source[49] == pytest.approx(49)
    assert torch.equal(source[50:], torch.arange(50.0, 60.0))  # after the end of the clip
    expected = np.interp(np.arange(50), [0, 26, 49], [0, 20, 49])
    assert source[:50].numpy() == pytest.approx(expected, abs=1e-4)


def test_resampling_is_numpys_linear_interpolation() -> None:
    random = torch.Generator().manual_seed(0)
    x, position = torch.rand(3, 2, 4, 30, generator=random), 29 * torch.rand(3, 30, generator=random)
    found = _resampled(x, position)
    for clip in range(3):
        for channel in range(2):
            for band in range(4):
                expected = np.interp(position[clip].numpy(), np.arange(30), x[clip, channel, band].numpy())
                assert found[clip, channel, band].numpy() == pytest.approx(expected, abs=1e-5)


def test_every_clip_of_a_batch_is_warped_by_a_draw_of_its_own_within_the_limit() -> None:
    ramp = torch.arange(200.0).expand(64, 1, 2, 200).contiguous()
    torch.manual_seed(0)
    x, extent, _ = built("time_warp", max_frames=10, p=1.0)(ramp, torch.ones(64), torch.eye(64))
    farthest = (x - ramp).abs().amax((1, 2, 3))
    assert 5 < farthest.max() <= 10 + 1e-3 and len(farthest.round(decimals=3).unique()) > 60
    assert (x.diff(dim=3) > 0).all() and torch.equal(extent, torch.ones(64))  # time never runs backwards
