"""Hidden states of a frozen pretrained speech encoder, such as Whisper's, as statistics over time or frame by frame.

Source: Whisper (arXiv 2212.04356). Its inventors pad every clip to 30 s; here a clip keeps its own length, which takes an
eighth of the time. The silence around a clip carries information for the encoder: `audio.trim_db: null` keeps it.
Needs `pip install 'emotion-lightning[weights]'`, which includes transformers.
"""

import math
import threading
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat
from torch import Tensor, nn

from emotion_lightning.config.ranges import NotEmpty, Speeds
from emotion_lightning.errors import UserError
from emotion_lightning.features import Feature, cpu_has_bf16, played_at
from emotion_lightning.features._speech_encoders import RATE, WHISPER_SECONDS, SpeechEncoder, load, origin, save

Pool = Literal["statistics", "frames"]
Precision = Literal["auto", "32", "bf16"]
LOADING = threading.Lock()  # a corpus is read by several threads
FRAMES_PER_SECOND = 50  # of Whisper, wav2vec 2.0, HuBERT and WavLM


class Encoder(Feature):
    """Maps (B, samples) to the states of the chosen layers, for each speed: layers × speeds channels, layer by layer.

    With the pool `statistics`, a channel is mean and standard deviation over time, (B, layers × speeds, 2 · width, 1) float32;
    with `frames`, all frames, (B, layers × speeds, width, frames) float16.
    """

    requirements = ("transformers",)

    def __init__(
        self,
        weights: str,
        layers: tuple[int, ...],
        pool: Pool,
        seconds: float,
        speeds: tuple[float, ...],
        precision: Precision,
    ):
        super().__init__()
        self.weights, self.layers, self.pool, self.speeds = weights, layers, pool, speeds
        self.used = (0.0, seconds * min(speeds))
        self.samples = round(seconds * RATE)
        self.frames = math.ceil(seconds * FRAMES_PER_SECOND)
        self.precision = precision
        self.pretrained = (origin(weights),)
        # not a submodule: it is frozen, and a checkpoint of 80 MB in every run would say nothing new
        self._loaded: list[SpeechEncoder] = []
        self._computes_in_bf16 = False  # decided where it is loaded

    def network(self, device: torch.device) -> SpeechEncoder:
        """Returns the encoder on the device; loads it the first time, so that a run on cached states never does.

        Raises: UserError for a layer that it does not have.
        """
        with LOADING:
            if not self._loaded:
                encoder = load(self.weights)
                if max(self.layers) > encoder.depth:
                    raise UserError(
                        f"features.layers: {self.weights} has the states 0 to {encoder.depth}, not {max(self.layers)}"
                    )
                self._computes_in_bf16 = self._should_compute_in_bf16(device)
                for module in encoder.modules() if self._computes_in_bf16 else ():
                    if isinstance(module, nn.Linear | nn.Conv1d):  # norms and sums stay in 32 bits
                        module.to(torch.bfloat16)
                self._loaded.append(encoder.requires_grad_(False).to(device))
            return self._loaded[0].to(device)

    def _should_compute_in_bf16(self, device: torch.device) -> bool:
        return self.precision == "bf16" or (self.precision == "auto" and (device.type == "cuda" or cpu_has_bf16()))

    @torch.no_grad()
    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        rows, valid = [], []
        for wave, length in zip(waves, lengths.tolist(), strict=True):
            by_speed = [self._states(wave[:length], speed) for speed in self.speeds]
            by_layer = [states[layer] for layer in range(len(self.layers)) for states in by_speed]
            valid.append(1.0 if self.pool == "statistics" else min(1.0, len(by_layer[0]) / self.frames))
            rows.append(torch.stack([self._pooled(state) for state in by_layer]))
        return torch.stack(rows), torch.tensor(valid, device=waves.device)

    def _states(self, wave: Tensor, speed: float) -> list[Tensor]:
        """Returns the states (T, width) of the chosen layers for one clip (samples,) that is played at `speed`."""
        wave = played_at(wave, speed, RATE)[: self.samples][None]
        encoder = self.network(wave.device)
        with torch.autocast(wave.device.type, torch.bfloat16, enabled=self._computes_in_bf16):
            return [state[0].float() for state in encoder.states(wave, self.layers)]

    def _pooled(self, state: Tensor) -> Tensor:
        """Returns (2 · width, 1) statistics or (width, frames) of a state (T, width)."""
        if self.pool == "statistics":
            return torch.cat([state.mean(0), state.std(0, correction=0)])[:, None]
        state = state[: self.frames].T
        return nn.functional.pad(state, (0, self.frames - state.shape[1])).half()

    def save_weights(self, folder: Path) -> None:
        save(self.weights, folder)

    def load_weights(self, folder: Path) -> None:
        with LOADING:
            self.weights, self.precision = str(folder), "32"
            self._loaded.clear()


def build(
    sample_rate: int,
    *,
    weights: str = "whisper_base",
    layers: Annotated[tuple[NonNegativeInt, ...], NotEmpty] = (4,),
    pool: Pool = "statistics",
    seconds: Annotated[PositiveFloat, Field(le=WHISPER_SECONDS)] = WHISPER_SECONDS,
    speeds: Speeds = (1.0,),
    precision: Precision = "auto",
) -> Encoder:
    """`weights` is the name of a file in weights/, a name on the Hugging Face hub (facebook/hubert-base-ls960), or a folder.

    `layers` are the states to keep: 0 is the input of the first layer. The clip is cut at `seconds`. `speeds` are the speeds at
    which the clip is played, which changes pitch and formants as if another person spoke. `auto` computes in bf16 where the
    processor does.

    Raises: UserError for another sample rate than 16 kHz.
    """
    if sample_rate != RATE:
        raise UserError(f"audio.sample_rate: the encoders take {RATE} Hz, not {sample_rate}")
    return Encoder(weights, layers, pool, seconds, speeds, precision)
