"""Loads pretrained speech encoders: Whisper from weights/NAME.yaml, or any of transformers' encoders from the hub or a folder.

An encoder maps waveforms of one length to the hidden states of its layers. State 0 is the input of the first layer; the last
state has passed the final layer norm, as in transformers' `hidden_states`.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional as F

from emotion_lightning import weights as pretrained
from emotion_lightning.errors import UserError
from emotion_lightning.weights import Origin
from emotion_lightning.weights.fetch import use_hub_offline_if_unreachable
from emotion_lightning.weights.formats import tensors

RATE = 16_000  # Hz, of all these encoders
WHISPER = "whisper_encoder"  # the folder of a saved one: transformers' own loader would add a decoder
WHISPER_SECONDS = 30.0  # its position encodings end there


class SpeechEncoder(nn.Module, ABC):
    """Hidden states of a pretrained network, without gradients."""

    depth: int  # number of layers
    width: int  # of a hidden state

    @abstractmethod
    def states(self, waves: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
        """Returns the hidden states of these layers, each (B, T, width), for waveforms (B, samples) at 16 kHz."""


class Whisper(SpeechEncoder):
    """Whisper's encoder on the clip itself: the position encodings are cut to its length, nothing is padded to 30 s."""

    def __init__(self, encoder: Any):
        super().__init__()
        self.encoder = encoder
        config: Any = encoder.config
        self.depth, self.width, bands = len(encoder.layers), config.d_model, config.num_mel_bins
        bank = torchaudio.functional.melscale_fbanks(201, 0, RATE / 2, bands, RATE, norm="slaney", mel_scale="slaney")
        self.register_buffer("bank", bank.T.contiguous())  # (bands, bins)
        self.register_buffer("window", torch.hann_window(400))

    def states(self, waves: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
        encoder = self.encoder
        x = F.gelu(encoder.conv1(self.log_mel(waves)))
        x = F.gelu(encoder.conv2(x)).transpose(1, 2)
        x = x + encoder.embed_positions.weight[: x.shape[1]]
        states = [x]
        for layer in encoder.layers[: max(layers)]:
            output = layer(states[-1], None)
            states.append(output[0] if isinstance(output, tuple) else output)
        return [encoder.layer_norm(states[i]) if i == self.depth else states[i] for i in layers]

    def log_mel(self, waves: Tensor) -> Tensor:
        """Returns Whisper's input (B, bands, frames of 10 ms): log10 power, 8 below its maximum at most, scaled."""
        with torch.autocast(waves.device.type, enabled=False):
            waves = F.pad(waves, (0, max(0, 400 - waves.shape[1])))  # reflection needs more samples than it adds
            bins = torch.stft(waves, 400, 160, window=self.get_buffer("window"), return_complex=True)[..., :-1]
            mel = (self.get_buffer("bank") @ (bins.real.square() + bins.imag.square())).clamp(min=1e-10).log10()
            return (torch.maximum(mel, mel.amax((1, 2), keepdim=True) - 8) + 4) / 4


class Transformers(SpeechEncoder):
    """An encoder of transformers that takes waveforms: wav2vec 2.0, HuBERT, WavLM, data2vec."""

    def __init__(self, network: Any, normalise: bool):
        super().__init__()
        self.network = network
        config: Any = network.config
        self.depth, self.width = config.num_hidden_layers, config.hidden_size
        self.normalise = normalise  # to mean 0 and deviation 1, as its preprocessor does

    def states(self, waves: Tensor, layers: tuple[int, ...]) -> list[Tensor]:
        if self.normalise:
            waves = (waves - waves.mean(1, keepdim=True)) / (waves.var(1, keepdim=True, correction=0) + 1e-7).sqrt()
        waves = F.pad(waves, (0, max(0, 400 - waves.shape[1])))  # the receptive field of one frame
        hidden = self.network(waves, output_hidden_states=True).hidden_states
        return [hidden[i] for i in layers]


def load(source: str) -> SpeechEncoder:
    """Loads an encoder by the name of a file in weights/, by a local folder, or by its name on the Hugging Face hub.

    Raises: UserError where transformers is not installed, or the weights cannot be had or are of another kind of network.
    """
    try:
        import transformers
    except ImportError:
        raise UserError(
            "features.encoder: transformers is missing; make weights, or pip install 'emotion-lightning[encoders]', installs it"
        ) from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    if source in pretrained.files():
        about = pretrained.load(source)
        if about.architecture != "whisper":
            raise UserError(
                f"features.weights: {source} are of the network {about.architecture}, not of a speech encoder"
            )
        return _whisper(tensors(about)).eval()
    return _from_transformers(source)


def save(source: str, folder: Path) -> None:
    """Writes an encoder to a folder that `load` reads, in 16 bits if no value changes by that."""
    encoder = load(source)
    network: Any = encoder.encoder if isinstance(encoder, Whisper) else encoder.network
    if all(torch.equal(tensor.half().float(), tensor) for tensor in network.parameters()):
        network.half()
    network.save_pretrained(folder / WHISPER if isinstance(encoder, Whisper) else folder)
    if not isinstance(encoder, Whisper):
        from transformers import Wav2Vec2FeatureExtractor

        Wav2Vec2FeatureExtractor(do_normalize=encoder.normalise).save_pretrained(folder)


def _saved_whisper(folder: Path) -> Whisper:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    return Whisper(WhisperEncoder.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)).eval()


def origin(source: str) -> Origin:
    """Returns what is known of the weights without loading them."""
    if source in pretrained.files():
        return pretrained.load(source).origin
    return Origin(source, "", "not known", "not known; it may contain clips of these corpora")


def _whisper(given: dict[str, Tensor]) -> Whisper:
    """Builds the encoder from the variables of a CTranslate2 file (weights/formats.py)."""
    width, bands, _ = given["encoder/conv1/weight"].shape
    layers = sum(name.startswith("encoder/") and name.endswith("/ffn/linear_0/weight") for name in given)
    encoder = _random_whisper(width, layers, bands)
    encoder.load_state_dict({name: tensor.float() for name, tensor in _transformers_names(given, layers).items()})
    return Whisper(encoder)


def whisper_layers(width: int, count: int) -> nn.ModuleList:
    """Returns layers of a Whisper encoder with random weights."""
    layers: nn.ModuleList = _random_whisper(width, count, bands=80).layers
    return layers


def _random_whisper(width: int, layers: int, bands: int) -> Any:
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = WhisperConfig(
        d_model=width,
        num_mel_bins=bands,
        encoder_layers=layers,
        encoder_attention_heads=max(1, width // 64),
        encoder_ffn_dim=4 * width,
    )
    config._attn_implementation = "sdpa"
    return WhisperEncoder(config)


def _transformers_names(given: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """Renames the encoder's variables of a CTranslate2 file to transformers' names; q, k and v are one matrix there."""
    named = {"embed_positions.weight": given["encoder/position_encodings/encodings"]}

    def copy(theirs: str, ours: str, names: dict[str, str]) -> None:
        for their_name, our_name in names.items():
            named[f"{ours}.{our_name}"] = given[f"encoder/{theirs}/{their_name}"]

    linear, norm = {"weight": "weight", "bias": "bias"}, {"gamma": "weight", "beta": "bias"}
    for convolution in ("conv1", "conv2"):
        copy(convolution, convolution, linear)
    copy("layer_norm", "layer_norm", norm)
    for i in range(layers):
        theirs, ours = f"layer_{i}", f"layers.{i}"
        copy(f"{theirs}/self_attention/layer_norm", f"{ours}.self_attn_layer_norm", norm)
        copy(f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm", norm)
        copy(f"{theirs}/self_attention/linear_1", f"{ours}.self_attn.out_proj", linear)
        copy(f"{theirs}/ffn/linear_0", f"{ours}.fc1", linear)
        copy(f"{theirs}/ffn/linear_1", f"{ours}.fc2", linear)
        joined = f"encoder/{theirs}/self_attention/linear_0"
        for part, weight, bias in zip(
            "qkv", given[f"{joined}/weight"].chunk(3), given[f"{joined}/bias"].chunk(3), strict=True
        ):
            named[f"{ours}.self_attn.{part}_proj.weight"] = weight
            if part != "k":  # Whisper has no bias there; the file has zeros
                named[f"{ours}.self_attn.{part}_proj.bias"] = bias
    return named


def _from_transformers(source: str) -> SpeechEncoder:
    from transformers import AutoFeatureExtractor, AutoModel

    if not Path(source).is_dir():
        use_hub_offline_if_unreachable()
    try:
        if (Path(source) / WHISPER).is_dir():
            return _saved_whisper(Path(source) / WHISPER)
        network = AutoModel.from_pretrained(source, use_safetensors=True, dtype=torch.float32).eval()
        if hasattr(network, "encoder") and network.config.model_type == "whisper":
            return Whisper(network.encoder).eval()
        extractor = AutoFeatureExtractor.from_pretrained(source)
    except (OSError, ValueError, ImportError) as error:
        reason = " ".join(str(error).split())[:160]
        raise UserError(f"features.weights: the encoder '{source}' cannot be loaded ({reason})") from error
    return Transformers(network, bool(getattr(extractor, "do_normalize", True))).eval()
