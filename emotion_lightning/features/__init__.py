"""Features: one file each. A feature turns waveforms into the input of a model.

The same module fills the cache and runs in the training step. Every feature is batched and runs on any device. Shorter
clips are padded with zeros at the end; the feature of a clip does not depend on the other clips of its batch.
"""

import math
from abc import abstractmethod
from pathlib import Path

import torch
import torchaudio
from torch import Tensor, nn

from emotion_lightning.weights import Origin


class Feature(nn.Module):
    """`forward` computes what the cache stores. `present` turns this into the input of a model."""

    is_picture = False
    """A picture may be resized and is normalised for each channel, any other feature for each channel and band."""
    used: tuple[float, float] = (0.0, math.inf)
    """The part of a clip that the feature uses: its start and end in seconds. Of the rest, only the level counts, where the
    feature is relative to the loudest frame of the clip."""

    made_of: tuple[str, ...] = ()
    """The names of the features that it joins, if any."""
    pretrained: tuple[Origin, ...] = ()
    """The outside weights that the feature is computed with, if any."""
    requirements: tuple[str, ...] = ()
    """Packages that a served model needs in addition to those of the framework."""

    @abstractmethod
    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the stored form (B, C, F, T), with the same F and T for every clip.

        `waves` (B, samples) are zero-padded waveforms, `lengths` (B,) their lengths in samples. Also returns the valid
        share (B,) of the time axis, 0…1, which the clip fills.
        """

    def save_weights(self, folder: Path) -> None:
        """Writes the outside weights that it computes with to a folder of a model package, if there are any."""

    def load_weights(self, folder: Path) -> None:
        """Takes the outside weights from such a folder, and computes in 32 bits, so that every machine gives the same."""

    def present(self, stored: Tensor) -> Tensor:
        """Turns the stored form (B, C, F, T) into float (B, C', F, T)."""
        return stored.float()


def played_at(wave: Tensor, speed: float, rate: int) -> Tensor:
    """Returns (samples,) played at `speed`: pitch, formants and tempo change together. `rate` is in Hz."""
    return wave if speed == 1 else torchaudio.functional.resample(wave, round(rate * speed), rate)


def cpu_has_bf16() -> bool:
    """Returns whether the processor computes in bf16."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def valid_frames(valid: Tensor, frames: int) -> Tensor:
    """Returns the mask (B, frames) of the frames that belong to the clip, from the valid share (B,) of the time axis."""
    return torch.arange(frames, device=valid.device) < (valid[:, None] * frames).round()


def fit_frames(x: Tensor, counts: Tensor, frames: int, silence: Tensor) -> tuple[Tensor, Tensor]:
    """Cuts or fills (B, F, T) to (B, F, frames), and returns the valid share (B,) with it.

    `counts` (B,) are the valid frames of each clip. `silence` (F,) is the frame to fill with: the floor of a log-mel, never
    0 dB, which is its loudest level.
    """
    x = x[..., :frames]
    x = nn.functional.pad(x, (0, frames - x.shape[-1]))
    padding = torch.arange(frames, device=x.device) >= counts[:, None]  # (B, frames)
    return torch.where(padding[:, None], silence[None, :, None], x), (counts / frames).clamp(max=1.0)
