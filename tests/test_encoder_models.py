"""Networks on the frames of a speech encoder, and the pooling that they share."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import hiss
from test_encoder import batch, build, small, wav2vec2, whisper_small  # noqa: F401 - fixtures

from emotion_lightning.config import parts
from emotion_lightning.errors import UserError
from emotion_lightning.models import encoder_head, encoder_layers, fusion
from emotion_lightning.models._attentive_statistics import AttentiveStatistics

RATE = 16_000
SPEAKERS = ("corpora.demo={speakers: 4, takes: 1}", "protocol.folds=3")  # those of `demo_data`


def feature(name: str, **arguments: Any) -> Any:
    return parts.entry("features", name)(RATE, **arguments)


# ---------------------------------------------------------------- pooling


def test_equal_weights_give_mean_and_deviation_of_the_frames_that_count() -> None:
    pool = AttentiveStatistics(5, heads=2)
    torch.nn.init.zeros_(pool.score[2].weight)
    frames = torch.randn(3, 8, 5)
    mask = torch.arange(8) < torch.tensor([8, 3, 1])[:, None]
    found = pool(frames, mask)
    for clip, count in enumerate((8, 3, 1)):
        own = frames[clip, :count].numpy()
        expected = np.concatenate([np.tile(own.mean(0), 2), np.tile(np.maximum(own.std(0), 1e-5**0.5), 2)])
        np.testing.assert_allclose(found[clip].detach().numpy(), expected, atol=1e-5)
    torch.testing.assert_close(found, pool(frames.masked_fill(~mask[..., None], 99.0), mask))


def test_a_weight_on_one_frame_gives_that_frame() -> None:
    pool = AttentiveStatistics(1, heads=1)
    frames = torch.tensor([[[0.0], [1.0], [5.0]]])
    with torch.no_grad():
        pool.score[0].weight.fill_(10), pool.score[0].bias.fill_(-40), pool.score[2].weight.fill_(10)
    assert pool(frames, torch.ones(1, 3).bool())[0, 0].item() == pytest.approx(5, abs=1e-3)
    none = pool(frames, torch.zeros(1, 3).bool())
    assert none[0, 0].item() == pytest.approx(0, abs=1e-3) and none.isfinite().all()


# ---------------------------------------------------------------- a head on several layers


def test_the_mix_of_layers_is_learned() -> None:
    network = encoder_head.build((3, 16, 10), 4, hidden=8).eval()
    x, valid = torch.randn(2, 3, 16, 10), torch.tensor([1.0, 0.5])
    with torch.no_grad():
        network.mix.copy_(torch.tensor([0.0, 50.0, 0.0]))
        only = network(x, valid)
        x[:, [0, 2]] = torch.randn(2, 2, 16, 10)
        torch.testing.assert_close(network(x, valid), only)
        x[1, 1, :, 5:] = 7  # after the end of the clip
        torch.testing.assert_close(network(x, valid), only)
        x[1, 1, :, 4:] = 7
        assert not torch.allclose(network(x, valid)[1], only[1])


# ---------------------------------------------------------------- layers that are fine-tuned


@pytest.mark.usefixtures("small")
def test_the_layers_continue_where_the_cached_state_ends(whisper_small: str) -> None:  # noqa: F811
    clips = batch(hiss(1.0), hiss(0.4, seed=1))
    network = encoder_layers.build((1, 128, 50), 3, first=1, count=2, weights=whisper_small).eval()
    found: list[torch.Tensor] = []
    network.layers[0].register_forward_hook(lambda *call: found.append(call[2]))
    frames, valid = build(whisper_small, layers=(1, 2), pool="frames", seconds=1.0)(*clips)
    with torch.no_grad():
        network(frames[:, :1].float(), valid)
    state = found[0][0] if isinstance(found[0], tuple) else found[0]
    for clip, count in enumerate((50, 20)):  # without an influence of the padding
        expected = frames[clip, 1, :, :count].float().T
        torch.testing.assert_close(state[clip, :count], expected, atol=2e-2, rtol=2e-2)  # float16 in the cache


@pytest.mark.usefixtures("small")
def test_each_layer_is_a_group_of_its_own_and_padding_changes_nothing(whisper_small: str) -> None:  # noqa: F811
    network = encoder_layers.build((1, 128, 50), 3, first=1, count=2, weights=whisper_small).eval()
    assert len(network.layer_groups()) == 3 and network.pretrained[0].name.endswith("small")
    assert all(parameter.requires_grad for parameter in network.parameters())
    x, valid = torch.randn(2, 1, 128, 50), torch.tensor([0.4, 0.2])
    with torch.no_grad():
        logits = network(x, valid)
        x[..., 20:] = 99
        x[1, ..., 10:] = -99
        torch.testing.assert_close(network(x, valid), logits, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("small")
def test_layers_that_are_not_there_are_refused(whisper_small: str) -> None:  # noqa: F811
    with pytest.raises(UserError, match=r"model.count: small has the layers 0 to 2, not 3"):
        encoder_layers.build((1, 128, 50), 3, first=2, count=2, weights=whisper_small)
    with pytest.raises(UserError, match="small is no Whisper encoder with states of width 512"):
        encoder_layers.build((1, 512, 50), 3, weights=whisper_small)
    random = encoder_layers.build((1, 128, 50), 3, count=2, weights="none")
    assert random.pretrained == () and len(random.layers) == 2


@pytest.mark.usefixtures("wav2vec2")
def test_encoders_of_another_kind_are_refused(wav2vec2: tuple[str, Any]) -> None:  # noqa: F811
    with pytest.raises(UserError, match="is no Whisper encoder with states of width 32"):
        encoder_layers.build((1, 32, 50), 3, weights=wav2vec2[0])


# ---------------------------------------------------------------- fusion


def test_every_joined_feature_has_an_influence_and_padding_has_none() -> None:
    torch.manual_seed(0)
    network = fusion.build((1, 20, 12), 4, bands=(12, 5, 3), width=16, heads=2).eval()
    x, valid = torch.randn(2, 1, 20, 12), torch.tensor([1.0, 0.5])
    with torch.no_grad():
        before = network(x, valid)
        padded = x.clone()
        padded[1, ..., 6:] = 99
        torch.testing.assert_close(network(padded, valid), before, atol=1e-4, rtol=1e-4)
        for rows in (slice(0, 12), slice(12, 17), slice(17, 20)):
            changed = x.clone()
            changed[:, :, rows] = 0
            assert ((network(changed, valid) - before).abs().amax(1) > 1e-3).all()


def test_bands_that_are_not_those_of_the_features_are_refused() -> None:
    with pytest.raises(UserError, match="they end at 12, 17, and the joined features have 20 bands"):
        fusion.build((1, 20, 12), 4, bands=(12, 5))
    with pytest.raises(UserError, match="a width of 256 cannot be divided among 3 heads"):
        fusion.build((1, 20, 12), 4, bands=(12, 8), heads=3)
