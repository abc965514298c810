"""The networks of the papers' open questions: whatever follows a clip leaves its logits, and each part is its definition."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from test_models import CLASSES, made_up
from torch import Tensor, nn

from emotion_lightning.errors import UserError
from emotion_lightning.models import Network, area_attention, cnn_lstm, eca_cnn, lstm, lstm_pooled, resnet_stats
from emotion_lightning.models._masked import time_mean, time_statistics

SHAPE = (1, 40, 50)
COUNTS = (50, 33, 14, 1)  # frames of each clip: even and odd ones under every stride
NETWORKS: dict[str, Callable[[], Network]] = {
    "resnet_stats": lambda: resnet_stats.build(SHAPE, CLASSES),
    "resnet_stats, level kept": lambda: resnet_stats.build(SHAPE, CLASSES, per_clip=False),
    "cnn_lstm": lambda: cnn_lstm.build(SHAPE, CLASSES),
    "cnn_lstm, statistics": lambda: cnn_lstm.build(SHAPE, CLASSES, pool="statistics", halvings=4),
    "cnn_lstm, last": lambda: cnn_lstm.build(SHAPE, CLASSES, pool="last", halvings=0),
    "eca_cnn": lambda: eca_cnn.build(SHAPE, CLASSES),
    "eca_cnn, all": lambda: eca_cnn.build(SHAPE, CLASSES, windows="all"),
    "area_attention": lambda: area_attention.build(SHAPE, CLASSES),
    "lstm, mean": lambda: lstm_pooled.build(SHAPE, CLASSES, hidden=16, pool="mean"),
    "lstm, statistics": lambda: lstm_pooled.build(SHAPE, CLASSES, hidden=16, pool="statistics"),
}
ON_NETWORKS = pytest.mark.parametrize("name", NETWORKS)


def trained(name: str) -> Network:
    """A network in eval mode whose batch norms have seen data, so that they shift zeros."""
    torch.manual_seed(0)
    network = NETWORKS[name]().train()
    for _ in range(20):
        network(torch.randn(4, *SHAPE) + 0.5, torch.ones(4))
    return network.eval()


def clips() -> tuple[Tensor, Tensor]:
    x, _ = made_up(SHAPE)
    return x, torch.tensor(COUNTS) / SHAPE[2]


@ON_NETWORKS
@torch.no_grad()
def test_noise_and_twice_the_padding_after_a_clip_leave_its_logits(name: str) -> None:
    network = trained(name)
    x, valid = clips()
    logits = network(x, valid)
    after = torch.arange(50) >= torch.tensor(COUNTS)[:, None]
    noisy = torch.where(after[:, None, None], 100 * torch.randn_like(x), x)
    torch.testing.assert_close(network(noisy, valid), logits, atol=1e-4, rtol=1e-4)
    longer = torch.cat([x, 100 * torch.randn_like(x)], 3)
    torch.testing.assert_close(network(longer, valid / 2), logits, atol=1e-4, rtol=1e-4)


@ON_NETWORKS
@torch.no_grad()
def test_a_clip_without_padding_has_the_same_logits(name: str) -> None:
    network = trained(name)
    x, valid = clips()
    logits = network(x, valid)
    for clip, count in enumerate(COUNTS):
        alone = network(x[clip : clip + 1, ..., :count], torch.ones(1))
        torch.testing.assert_close(alone, logits[clip : clip + 1], atol=1e-4, rtol=1e-4)


@ON_NETWORKS
@torch.no_grad()
def test_the_last_frame_of_a_clip_counts(name: str) -> None:
    network = trained(name)
    x, valid = clips()
    changed = x.clone()
    for clip, count in enumerate(COUNTS):
        changed[clip, :, ::2, count - 1] += 5.0
    difference = (network(changed, valid) - network(x, valid)).abs().amax(1)
    is_one_frame = torch.tensor(COUNTS) == 1  # normalised over itself, a clip of one frame is zero
    assert (difference[~is_one_frame] > 1e-4).all()


@pytest.mark.parametrize("name", ["resnet_stats", "cnn_lstm", "eca_cnn", "area_attention"])
def test_the_head_is_the_last_layer_group_and_the_network_is_small(name: str) -> None:
    network = NETWORKS[name]()
    assert sum(p.numel() for p in network.parameters()) < 3e6
    assert any(p.shape == (CLASSES,) for p in network.layer_groups()[-1])
    assert len(network.layer_groups()) > 3


def test_pooling_over_time_is_numpys_mean_and_deviation_of_each_clip() -> None:
    torch.manual_seed(0)
    x, counts = torch.randn(3, 5, 20), torch.tensor([20, 7, 3])
    mean, both = time_mean(x, counts), time_statistics(x, counts)
    for clip, count in enumerate(counts.tolist()):
        own = x[clip, :, :count].numpy()
        np.testing.assert_allclose(mean[clip], own.mean(1), atol=1e-6)
        np.testing.assert_allclose(both[clip], [*own.mean(1), *own.std(1)], atol=1e-3)


# ---------------------------------------------------------------- resnet_stats


@torch.no_grad()
def test_the_resnet_ignores_the_level_and_gain_of_each_band_of_a_clip() -> None:
    x, valid = clips()
    gain, level = torch.rand(4, 1, 40, 1) + 0.5, 3 * torch.randn(4, 1, 40, 1)
    with_level, without = (trained(name) for name in ("resnet_stats, level kept", "resnet_stats"))
    torch.testing.assert_close(without(x * gain + level, valid), without(x, valid), atol=0.02, rtol=0.02)
    assert float((with_level(x * gain + level, valid) - with_level(x, valid)).abs().max()) > 0.2


# ---------------------------------------------------------------- lstm


def packed_states(network: lstm.LSTM, x: Tensor, counts: Tensor) -> list[np.ndarray]:
    """Of each clip (frames, 2·hidden): the states of torch's own bidirectional LSTM with the same weights."""
    theirs = nn.LSTM(x.shape[2], 16, 2, batch_first=True, bidirectional=True)
    for layer in range(2):
        for suffix, modules in (("", network.forwards), ("_reverse", network.backwards)):
            for name, value in modules[layer].named_parameters():
                theirs.get_parameter(name.removesuffix("_l0") + f"_l{layer}{suffix}").data.copy_(value)
    packed = nn.utils.rnn.pack_padded_sequence(
        x[:, 0].transpose(1, 2), counts, batch_first=True, enforce_sorted=False
    )
    states, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    return [own[:count].numpy() for own, count in zip(states, counts.tolist(), strict=True)]


@torch.no_grad()
def test_the_lstm_pools_the_states_of_torchs_packed_sequences() -> None:
    x, valid = clips()
    counts = torch.tensor(COUNTS)
    for name in ("lstm, mean", "lstm, statistics"):
        network = trained(name)
        assert isinstance(network, lstm.LSTM)
        states = packed_states(network, x, counts)
        pooled = [[*own.mean(0), *(own.std(0) if "statistics" in name else [])] for own in states]
        expected = network.head(torch.tensor(np.array(pooled), dtype=torch.float32))
        torch.testing.assert_close(network(x, valid), expected, atol=2e-3, rtol=1e-3)


def test_the_weights_of_older_lstm_runs_keep_their_names() -> None:
    names = list(lstm.build(SHAPE, CLASSES, layers=1).state_dict())
    kinds = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    expected = [f"{side}.0.{kind}" for side in ("forwards", "backwards") for kind in kinds]
    assert names == [*expected, "head.1.weight", "head.1.bias"]


@torch.no_grad()
def test_the_hybrid_tells_a_clip_from_its_reverse() -> None:
    x, _ = clips()
    network = trained("cnn_lstm")
    assert float((network(x, torch.ones(4)) - network(x.flip(3), torch.ones(4))).abs().max()) > 1e-3


# ---------------------------------------------------------------- eca_cnn


@torch.no_grad()
def test_channel_attention_weights_by_the_means_of_three_neighbours() -> None:
    torch.manual_seed(0)
    attention = eca_cnn.ECA()
    x, counts = torch.randn(2, 6, 4, 10), torch.tensor([10, 4])
    weighted = attention(x, counts)
    for clip, count in enumerate(counts.tolist()):
        means = np.pad(x[clip, :, :, :count].numpy().mean((1, 2)), 1)
        kernel = attention.conv.weight.flatten().numpy()
        for channel in range(6):
            weight = 1 / (1 + np.exp(-(kernel @ means[channel : channel + 3])))
            np.testing.assert_allclose(weighted[clip, channel], weight * x[clip, channel].numpy(), atol=1e-5)


def windows_network() -> tuple[Network, Tensor, list[Tensor]]:
    """A network without dropout, 60 clips (60, 3, 40, 50) alike, and the logits of each of their windows alone."""
    torch.manual_seed(0)
    network = eca_cnn.build((3, 40, 50), CLASSES, dropout=0.0).eval()
    x = torch.randn(1, 3, 40, 50).expand(60, -1, -1, -1)
    return network, x, [network(x[:1, [window]], torch.ones(1)) for window in range(3)]


@torch.no_grad()
def test_the_logits_of_all_windows_are_averaged_in_a_test() -> None:
    network, x, each = windows_network()
    expected = torch.cat(each).mean(0)
    torch.testing.assert_close(network(x[:2], torch.ones(2)), expected.expand(2, -1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_training_step_draws_one_window_for_each_clip() -> None:
    network, x, each = windows_network()
    network.training = True  # the batch norms stay in eval mode
    torch.manual_seed(1)
    logits = network(x, torch.ones(60))
    nearest = torch.cdist(logits, torch.cat(each)).min(1)
    assert nearest.values.max() < 1e-4
    assert (torch.bincount(nearest.indices, minlength=3) > 8).all()
    torch.manual_seed(1)
    assert torch.equal(network(x, torch.ones(60)), logits)


# ---------------------------------------------------------------- area_attention


@torch.no_grad()
def test_area_attention_is_a_softmax_over_all_rectangles_of_the_clip() -> None:
    torch.manual_seed(0)
    attention = area_attention.AreaAttention(6, max_height=3, max_width=2, heads=2)
    x, counts = torch.randn(2, 6, 4, 5), torch.tensor([5, 3])
    pooled = attention(x, counts)
    for clip, count in enumerate(counts.tolist()):
        areas = [
            x[clip, :, top:bottom, left:right].numpy()
            for top in range(4)
            for bottom in range(top + 1, min(top + 3, 4) + 1)
            for left in range(count)
            for right in range(left + 1, min(left + 2, count) + 1)
        ]
        keys = np.array([area.mean((1, 2)) for area in areas])  # (areas, 6)
        values = np.array([area.sum((1, 2)) for area in areas])
        for head in range(2):
            scores = np.exp(keys @ attention.queries[head].numpy() / 6**0.5)
            expected = scores @ values[:, 3 * head : 3 * head + 3] / scores.sum()
            np.testing.assert_allclose(pooled[clip, 3 * head : 3 * head + 3], expected, atol=1e-5)


def test_heads_that_do_not_divide_the_channels_are_refused() -> None:
    with pytest.raises(UserError, match=r"model.heads: 3 heads cannot divide 80 channels"):
        area_attention.build(SHAPE, CLASSES, heads=3)
