"""Features for a whole batch at once, in operations that ONNX has, where the feature itself goes clip by clip."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F
from torchaudio.transforms import Resample

from emotion_lightning.features import Feature
from emotion_lightning.features._speech_encoders import RATE, Whisper
from emotion_lightning.features.acoustics import Acoustics
from emotion_lightning.features.encoder import Encoder
from emotion_lightning.features.functionals import Functionals
from emotion_lightning.features.joined import Joined
from emotion_lightning.features.picture import Picture
from emotion_lightning.features.prosody import Prosody
from emotion_lightning.serving.onnx.operators import resize_weights

WINDOW, HOP = 400, 160  # samples, of Whisper's spectrogram
MASKED = -1e4  # added to the attention to a frame after the end of a clip


def batched(feature: Feature) -> Feature | None:
    """Returns a feature that computes the same without a loop over clips: itself, one of this file, or None if there is none."""
    if isinstance(feature, Acoustics | Functionals | Prosody):
        return None
    if isinstance(feature, Picture):
        return BatchedPicture(feature)
    if isinstance(feature, Encoder):
        network = feature.network(torch.device("cpu"))
        return BatchedWhisper(feature, network) if isinstance(network, Whisper) else None
    if isinstance(feature, Joined):
        parts = {name: batched(part) for name, part in feature.features.items()}  # type: ignore[arg-type]
        found = {name: part for name, part in parts.items() if part}
        return Joined(found) if len(found) == len(parts) else None
    return feature


class BatchedPicture(Feature):
    """features/picture.py with one product by a matrix for each clip, instead of one resize for each clip."""

    is_picture = True

    def __init__(self, picture: Picture):
        super().__init__()
        self.log_mel, (self.height, self.width) = picture.log_mel, picture.shape

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        spectrogram, counts = self.log_mel.spectrogram(waves, lengths)  # (B, bands, T)
        bands, frames = spectrogram.shape[1:]
        rows = resize_weights(torch.tensor([bands]), bands, self.height)
        columns = resize_weights(counts, frames, self.width)
        x = (rows @ (spectrogram @ columns.transpose(1, 2))).flip(1)[:, None]
        levels = (x * (255 / self.log_mel.range_db) + 255).clamp(0, 255).round().to(torch.uint8)
        return levels, torch.ones_like(counts, dtype=torch.float32)


class BatchedWhisper(Feature):
    """features/encoder.py with Whisper: what follows a clip in the batch has no part in its states."""

    def __init__(self, feature: Encoder, whisper: Whisper):
        super().__init__()
        self.feature, self.whisper = feature, whisper

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        by_speed = [self._at_speed(waves, lengths, speed) for speed in self.feature.speeds]
        by_layer = [pooled[layer] for layer in range(len(self.feature.layers)) for pooled, _ in by_speed]
        return torch.stack(by_layer, 1), by_speed[0][1]

    def _at_speed(self, waves: Tensor, lengths: Tensor, speed: float) -> tuple[list[Tensor], Tensor]:
        """Returns for each layer (B, F, T), and the valid share (B,)."""
        if speed != 1:
            waves, lengths = _resampled(waves, lengths, round(RATE * speed))
        states, counts = self._states(waves[:, : self.feature.samples], lengths.clamp(max=self.feature.samples))
        if self.feature.pool == "statistics":
            return [_statistics(state, counts) for state in states], torch.ones_like(counts, dtype=torch.float32)
        frames = self.feature.frames
        kept = [F.pad(_masked(state, counts), (0, 0, 0, frames))[:, :frames] for state in states]
        return [state.transpose(1, 2).half() for state in kept], (counts / frames).clamp(max=1.0)

    def _states(self, waves: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """Returns the states (B, T, width) of the chosen layers, and how many of the frames (B,) are of the clip."""
        encoder, layers = self.whisper.encoder, self.feature.layers
        mel, counts = self._log_mel(F.pad(waves, (0, WINDOW)), lengths.clamp(min=WINDOW))
        x = F.gelu(encoder.conv1(mel)).transpose(1, 2)
        x = F.gelu(encoder.conv2(_masked(x, counts).transpose(1, 2))).transpose(1, 2)
        counts = (counts + 1) // 2
        places = F.pad(encoder.embed_positions.weight, (0, 0, 0, WINDOW // HOP))
        x = x + places[: x.shape[1]]
        outside = torch.arange(x.shape[1]) >= counts[:, None]
        mask = torch.zeros_like(outside, dtype=torch.float32).masked_fill(outside, MASKED)[:, None, None]
        states = [x]
        for layer in encoder.layers[: max(layers)]:
            output = layer(states[-1], mask)
            states.append(output[0] if isinstance(output, tuple) else output)
        return [encoder.layer_norm(states[i]) if i == self.whisper.depth else states[i] for i in layers], counts

    def _log_mel(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Returns Whisper's input (B, bands, T), zero after the end of a clip, and the number of its frames (B,)."""
        last = lengths[:, None] - 1
        places = (torch.arange(waves.shape[1] + WINDOW) - WINDOW // 2).abs()  # each clip is reflected at its own end
        places = (last - (last - places).abs()).clamp(min=0)
        bins = torch.stft(
            waves.gather(1, places),
            WINDOW,
            HOP,
            window=self.whisper.get_buffer("window"),
            center=False,
            return_complex=True,
        )
        mel = (self.whisper.get_buffer("bank") @ (bins.real.square() + bins.imag.square())).clamp(min=1e-10).log10()
        counts = lengths // HOP
        within = (torch.arange(mel.shape[2]) < counts[:, None])[:, None]
        loudest = mel.masked_fill(~within, -math.inf).amax((1, 2), keepdim=True)
        return (torch.maximum(mel, loudest - 8) + 4) / 4 * within, counts


def _resampled(waves: Tensor, lengths: Tensor, rate: int) -> tuple[Tensor, Tensor]:
    """Returns waveforms (B, samples) at `rate` Hz at the encoder's rate, as torchaudio does, and their lengths (B,).

    torchaudio computes the new length in a way that cannot be exported.
    """
    filters = Resample(rate, RATE)
    before, after = rate // filters.gcd, RATE // filters.gcd
    waves = F.conv1d(F.pad(waves, (filters.width, filters.width + before))[:, None], filters.kernel, stride=before)
    return waves.transpose(1, 2).flatten(1), (lengths * after + before - 1) // before


def _masked(x: Tensor, counts: Tensor) -> Tensor:
    """Returns (B, T, width) with zeros after the first `counts` (B,) frames."""
    return x * (torch.arange(x.shape[1]) < counts[:, None])[..., None]


def _statistics(x: Tensor, counts: Tensor) -> Tensor:
    """Returns mean and deviation (B, 2 · width, 1) over the first `counts` (B,) frames of (B, T, width)."""
    mean = _masked(x, counts).sum(1) / counts[:, None]
    variance = _masked((x - mean[:, None]).square(), counts).sum(1) / counts[:, None]
    return torch.cat([mean, variance.sqrt()], 1)[..., None]
