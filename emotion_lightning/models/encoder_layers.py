"""Fine-tunes the upper layers of Whisper's encoder, on the cached states below them.

For `features.name=encoder` with `features.pool=frames`, one layer and `data.normalise=none`: state k is the input of the first
layer that is fine-tuned. Lower layers stay as they are and cost nothing in an epoch. `lr_spread` of a stage gives each layer its
own learning rate. Weights: the name of a file in weights/, `none` for random ones.
"""

from typing import Annotated, Any

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from emotion_lightning.config.ranges import Dropout
from emotion_lightning.errors import UserError
from emotion_lightning.features import valid_frames
from emotion_lightning.features._speech_encoders import Whisper, load, origin, whisper_layers
from emotion_lightning.models import Network
from emotion_lightning.models._attentive_statistics import AttentiveStatistics


class EncoderLayers(Network):
    """Maps states (B, C, width, T), whose channels are averaged, to logits.

    The layers, a learned mix of their outputs, attentive statistics pooling, one linear layer.
    """

    def __init__(self, layers: nn.ModuleList, width: int, classes: int, heads: int, dropout: float):
        super().__init__()
        self.layers = layers
        self.mix = nn.Parameter(torch.zeros(len(layers) + 1))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.pool = AttentiveStatistics(width, heads)
        pooled = 2 * heads * width
        self.classify = nn.Sequential(nn.BatchNorm1d(pooled), nn.Dropout(dropout), nn.Linear(pooled, classes))

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        mask = valid_frames(valid, x.shape[3])
        length = x.shape[3]
        if not torch.compiler.is_exporting():  # a graph has no size that depends on values
            length = max(1, int(mask.sum(1).max()))  # attention over padding would cost as much as over the clips
        state, mask = x[..., :length].mean(1).transpose(1, 2), mask[:, :length]
        hidden = torch.zeros(x.shape[0], 1, 1, length, device=x.device).masked_fill(~mask[:, None, None], -1e4)
        states = [self.norm(state)]
        for layer in self.layers:
            output = layer(state, hidden.to(state.dtype))
            state = output[0] if isinstance(output, tuple) else output
            states.append(self.norm(state))
        mixed = sum(share * state for share, state in zip(self.mix.softmax(0), states, strict=True))
        return self.classify(self.pool(mixed, mask))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        head = [self.mix, *self.pool.parameters(), *self.classify.parameters()]
        return [*(list(layer.parameters()) for layer in self.layers), head]


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    first: Annotated[int, Field(ge=0)] = 3,
    count: PositiveInt = 2,
    weights: str = "whisper_base",
    heads: PositiveInt = 1,
    dropout: Dropout = 0.5,
) -> EncoderLayers:
    """`first` is the first layer that is fine-tuned, from 0, so `features.layers` is [first]; `count` is how many are.

    Raises: UserError for weights of another kind or width of network, and for more layers than it has.
    """
    width = shape[1]
    layers: Any
    if weights == "none":
        layers = whisper_layers(width, count)
    else:
        encoder = load(weights)
        if not isinstance(encoder, Whisper) or encoder.width != width:
            raise UserError(f"model.weights: {weights} is no Whisper encoder with states of width {width}")
        if first + count > encoder.depth:
            raise UserError(
                f"model.count: {weights} has the layers 0 to {encoder.depth - 1}, not {first + count - 1}"
            )
        layers = encoder.encoder.layers[first : first + count]
    network = EncoderLayers(layers.requires_grad_(True), width, classes, heads, dropout)
    network.pretrained = () if weights == "none" else (origin(weights),)
    return network
