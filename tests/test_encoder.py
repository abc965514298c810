"""The feature `encoder`: Whisper read from a CTranslate2 file, other encoders from a folder, statistics and frames."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
import yaml
from conftest import hiss, tone
from test_weights import ctranslate2_file
from torch import Tensor

from emotion_lightning import weights
from emotion_lightning.config import parts
from emotion_lightning.errors import UserError
from emotion_lightning.features import _speech_encoders as speech_encoders
from emotion_lightning.features import encoder
from emotion_lightning.weights import fetch

LINEAR = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")


def variables(network: Any) -> dict[str, Tensor]:
    """A WhisperEncoder's weights by the names of CTranslate2, as its converter writes them; written down independently."""
    state, named = network.state_dict(), {}
    named["encoder/position_encodings/encodings"] = state["embed_positions.weight"]
    norms = {"weight": "gamma", "bias": "beta"}
    for kind in ("weight", "bias"):
        named[f"encoder/layer_norm/{norms[kind]}"] = state[f"layer_norm.{kind}"]
        for conv in ("conv1", "conv2"):
            named[f"encoder/{conv}/{kind}"] = state[f"{conv}.{kind}"]
        for i, layer in enumerate(network.layers):
            own = layer.state_dict()
            own["self_attn.k_proj.bias"] = torch.zeros_like(own["self_attn.q_proj.bias"])
            attention, feed_forward = f"encoder/layer_{i}/self_attention", f"encoder/layer_{i}/ffn"
            named[f"{attention}/layer_norm/{norms[kind]}"] = own[f"self_attn_layer_norm.{kind}"]
            named[f"{feed_forward}/layer_norm/{norms[kind]}"] = own[f"final_layer_norm.{kind}"]
            named[f"{attention}/linear_0/{kind}"] = torch.cat([own[f"{part}.{kind}"] for part in LINEAR])
            named[f"{attention}/linear_1/{kind}"] = own[f"self_attn.out_proj.{kind}"]
            named[f"{feed_forward}/linear_0/{kind}"] = own[f"fc1.{kind}"]
            named[f"{feed_forward}/linear_1/{kind}"] = own[f"fc2.{kind}"]
    return named


@pytest.fixture(scope="module")
def small() -> Any:
    """A WhisperEncoder with random weights: 3 layers of 128, in the precision of half floats."""
    torch.manual_seed(0)
    config = transformers.WhisperConfig(
        d_model=128, encoder_layers=3, encoder_attention_heads=2, encoder_ffn_dim=512, num_mel_bins=80
    )
    network = transformers.models.whisper.modeling_whisper.WhisperEncoder(config).eval()
    for parameter in network.parameters():
        parameter.data = parameter.data.half().float()
    return network


@pytest.fixture
def whisper_small(small: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of weights, in a parts folder, that are `small`'s."""
    body = ctranslate2_file({name: tensor.half() for name, tensor in variables(small).items()})
    monkeypatch.setenv(parts.ENVIRONMENT, str(tmp_path / "parts"))
    monkeypatch.setenv(fetch.ENVIRONMENT, str(tmp_path / "kept"))
    sha256 = hashlib.sha256(body).hexdigest()
    (tmp_path / "parts" / "weights").mkdir(parents=True)
    about = {
        "title": "Small",
        "architecture": "whisper",
        "licence": "MIT",
        "citation": "none",
        "trained_on": "nothing",
    }
    about |= {
        "size": len(body),
        "sha256": sha256,
        "format": "ctranslate2",
        "sources": [{"url": "http://127.0.0.1:9/x"}],
    }
    (tmp_path / "parts" / "weights" / "small.yaml").write_text(yaml.safe_dump(about))
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / f"small-{sha256[:16]}").write_bytes(body)
    return "small"


def batch(*waves: Any) -> tuple[Tensor, Tensor]:
    tensors = [torch.as_tensor(np.asarray(wave), dtype=torch.float32) for wave in waves]
    return torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True), torch.tensor([len(t) for t in tensors])


def build(name: str, **settings: Any) -> encoder.Encoder:
    return encoder.build(16_000, weights=name, precision="32", **settings)


def reference(network: Any, wave: Any) -> tuple[Tensor, ...]:
    """transformers' own hidden states for a clip that fills 30 s, which is the only length that it takes."""
    extractor = transformers.WhisperFeatureExtractor(feature_size=80)
    mel = extractor(np.asarray(wave), sampling_rate=16_000, return_tensors="pt").input_features
    with torch.no_grad():
        output = network(mel, output_hidden_states=True)
    return (*output.hidden_states[:-1], output.last_hidden_state)


def test_states_of_a_clip_of_30_s_are_those_of_transformers(small: Any, whisper_small: str) -> None:
    wave = hiss(30.0)
    frames, valid = build(whisper_small, layers=(0, 1, 3), pool="frames")(*batch(wave))
    assert frames.shape == (1, 3, 128, 1500) and frames.dtype == torch.float16 and valid.tolist() == [1.0]
    expected = reference(small, wave)
    for channel, layer in enumerate((0, 1, 3)):
        torch.testing.assert_close(frames[0, channel].float().T, expected[layer][0], atol=5e-3, rtol=2e-3)


@pytest.mark.skipif(fetch.find(weights.load("whisper_base")) is None, reason="Whisper base is not installed")
def test_whisper_base_agrees_with_transformers_within_1e_3() -> None:
    base, about = speech_encoders.load("whisper_base"), speech_encoders.origin("whisper_base")
    wave = hiss(30.0)
    expected = reference(base.encoder, wave)  # its weights, and transformers' log-mel and loop over layers
    with torch.no_grad():
        states = base.states(batch(wave)[0], (0, 3, 6))
    assert about.licence == "MIT" and (base.depth, base.width) == (6, 512)
    for state, layer in zip(states, (0, 3, 6), strict=True):
        assert float((state - expected[layer]).abs().max()) < 1e-3


def test_statistics_are_mean_and_deviation_over_the_clip_alone(whisper_small: str) -> None:
    clips = batch(hiss(1.0), hiss(0.43, seed=1), tone(440, 0.2))
    frames, valid = build(whisper_small, layers=(1, 2), pool="frames", seconds=1.0)(*clips)
    statistics, whole = build(whisper_small, layers=(1, 2))(*clips)
    assert statistics.shape == (3, 2, 256, 1) and whole.tolist() == [1.0, 1.0, 1.0]
    for clip, count in enumerate((50, 22, 10)):  # a frame is 20 ms
        assert round(float(valid[clip]) * 50) == count
        own = frames[clip, :, :, :count].float().numpy()
        np.testing.assert_allclose(statistics[clip, :, :128, 0], own.mean(2), atol=2e-3)
        np.testing.assert_allclose(statistics[clip, :, 128:, 0], own.std(2), atol=2e-3)
        assert not frames[clip, :, :, count:].any()


def test_a_clip_has_the_same_states_in_any_batch(whisper_small: str) -> None:
    feature = build(whisper_small, layers=(3,))
    together, _ = feature(*batch(hiss(0.5), hiss(0.9, seed=1)))
    alone, _ = feature(*batch(hiss(0.5)))
    torch.testing.assert_close(together[:1], alone)


def test_channels_are_ordered_layer_by_layer_and_then_by_speed(whisper_small: str) -> None:
    wave = batch(tone(300, 0.8))
    both, _ = build(whisper_small, layers=(1, 3), speeds=(1.0, 0.8))(*wave)
    for speed, channels in ((1.0, (0, 2)), (0.8, (1, 3))):
        alone, _ = build(whisper_small, layers=(1, 3), speeds=(speed,))(*wave)
        torch.testing.assert_close(both[:, channels], alone)


def test_a_speed_changes_pitch_and_duration_together(whisper_small: str) -> None:
    """A tone of 400 Hz at 1.25 times its speed is one of 500 Hz, and lasts 0.8 times as long."""
    faster, valid = build(whisper_small, layers=(0,), pool="frames", speeds=(1.25,), seconds=1.0)(
        *batch(tone(400, 1.0))
    )
    higher, expected = build(whisper_small, layers=(0,), pool="frames", seconds=1.0)(*batch(tone(500, 0.8)))
    assert valid.tolist() == expected.tolist() == [pytest.approx(0.8)]
    inner = slice(5, 35)  # without the ends of the tone, where the resampler's filter begins
    torch.testing.assert_close(faster[..., inner].float(), higher[..., inner].float(), atol=0.1, rtol=0.1)


@pytest.mark.parametrize("wave", [np.zeros(8000), np.full(3, 0.1), hiss(31.0)], ids=["silent", "3 samples", "31 s"])
def test_silent_short_and_long_clips_have_finite_states(whisper_small: str, wave: Any) -> None:
    values, _ = build(whisper_small, layers=(1, 3))(*batch(wave))
    assert values.isfinite().all()


def test_bf16_is_close_to_32_bits(whisper_small: str) -> None:
    wave = batch(hiss(0.6))
    exact, _ = build(whisper_small, layers=(3,))(*wave)
    rounded, _ = encoder.build(16_000, weights=whisper_small, layers=(3,), precision="bf16")(*wave)
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(rounded, exact, atol=0.03, rtol=0.03)


def test_the_encoder_is_loaded_at_the_first_clip_and_is_in_no_checkpoint(whisper_small: str) -> None:
    feature = build(whisper_small)
    assert feature.pretrained[0].name == "small" and not feature._loaded
    assert not list(feature.parameters()) and not feature.state_dict()


def test_a_packaged_encoder_needs_no_weights_beside_it_and_computes_in_32_bits(
    whisper_small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feature = encoder.build(16_000, weights=whisper_small, layers=(0, 2), precision="32")
    expected = feature(*batch(hiss(0.3)))[0]
    feature.save_weights(tmp_path)
    copy = encoder.build(16_000, weights=whisper_small, layers=(0, 2), precision="bf16")
    monkeypatch.setenv(parts.ENVIRONMENT, "")  # where the weights' own file is
    copy.load_weights(tmp_path)
    assert torch.equal(copy(*batch(hiss(0.3)))[0], expected)


def test_a_packaged_encoder_of_transformers_is_the_same(wav2vec2: tuple[str, Any], tmp_path: Path) -> None:
    source, network = wav2vec2
    with torch.no_grad():  # values that 16 bits hold, as of weights that were published so
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())
    network.save_pretrained(source)
    feature = encoder.build(16_000, weights=source, layers=(1,), precision="32")
    expected = feature(*batch(hiss(0.3)))[0]
    feature.save_weights(tmp_path / "package")
    shutil.rmtree(source)
    copy = encoder.build(16_000, weights=source, layers=(1,))
    copy.load_weights(tmp_path / "package")
    assert torch.equal(copy(*batch(hiss(0.3)))[0], expected)
    sizes = [file.stat().st_size for file in (tmp_path / "package").glob("*.safetensors")]
    assert sizes[0] < 2.5 * sum(parameter.numel() for parameter in network.parameters())


# ---------------------------------------------------------------- encoders of transformers


@pytest.fixture
def wav2vec2(tmp_path: Path) -> tuple[str, Any]:
    """A folder with a small wav2vec 2.0 of random weights, and the network itself."""
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4, vocab_size=8,
    )  # fmt: skip
    network = transformers.Wav2Vec2Model(config).eval()
    network.save_pretrained(tmp_path / "wav2vec2")
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(tmp_path / "wav2vec2")
    return str(tmp_path / "wav2vec2"), network


def test_a_local_folder_gives_the_states_of_its_own_network(wav2vec2: tuple[str, Any]) -> None:
    folder, network = wav2vec2
    wave = 0.2 * hiss(1.0) + 0.1
    values, _ = build(folder, layers=(0, 2), pool="frames", seconds=1.0)(*batch(wave))
    with torch.no_grad():
        normalised = torch.as_tensor((wave - wave.mean()) / np.sqrt(wave.var() + 1e-7))[None].float()
        hidden = network(normalised, output_hidden_states=True).hidden_states
    count = hidden[0].shape[1]
    for channel, layer in enumerate((0, 2)):
        torch.testing.assert_close(values[0, channel, :, :count].float(), hidden[layer][0].T, atol=2e-3, rtol=1e-2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"weights": "imagenet_tf_efficientnet_lite0"},
            "are of the network tf_efficientnet_lite0, not of a speech encoder",
        ),
        ({"weights": "no/such-encoder"}, "features.weights: the encoder 'no/such-encoder' cannot be loaded"),
        ({"layers": (4,)}, "features.layers: small has the states 0 to 3, not 4"),
    ],
)
def test_what_cannot_be_loaded_is_refused_in_one_line(
    whisper_small: str, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], message: str
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    feature = encoder.build(16_000, **{"weights": whisper_small, **settings})
    with pytest.raises(UserError, match=message) as refused:
        feature(*batch(hiss(0.3)))
    assert "\n" not in str(refused.value)


def test_another_sample_rate_is_refused() -> None:
    with pytest.raises(UserError, match=r"audio.sample_rate: the encoders take 16000 Hz, not 22050"):
        encoder.build(22_050)


def test_without_transformers_the_message_names_the_package(
    whisper_small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'emotion-lightning\[encoders\]'"):
        build(whisper_small)(*batch(hiss(0.3)))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("features.layers=[]", "features.layers"),
        ("features.layers=[-1]", "features.layers.0"),
        ("features.seconds=31", "features.seconds"),
        ("features.speeds=[3]", "features.speeds.0"),
    ],
)
def test_a_setting_out_of_range_is_one_line(
    refusal: Callable[..., str], tmp_path: Path, setting: str, message: str
) -> None:
    printed = refusal(tmp_path, "audit", "whisper_lda", "--corpora", "demo", setting)
    assert message in printed and printed.count("\n") == 1


def test_a_packaged_whisper_is_read_from_safetensors_alone(whisper_small: str, tmp_path: Path) -> None:
    speech_encoders.save(whisper_small, tmp_path)
    (weights_file,) = (tmp_path / speech_encoders.WHISPER).glob("*.safetensors")
    torch.save({"conv1.weight": torch.zeros(1)}, weights_file.with_name("pytorch_model.bin"))
    weights_file.unlink()
    with pytest.raises(UserError, match="cannot be loaded") as refused:
        speech_encoders.load(str(tmp_path))
    assert "\n" not in str(refused.value)
