"""Any timm network, with the head and the layer groups of DeepEmoNet's ResNet34 (those of fastai).

Weights: `imagenet` (downloaded by timm), `none`, or the path of a local file (.safetensors, .pth, .bin).
"""

import logging
from pathlib import Path
from typing import Any

import huggingface_hub
import requests
import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from emotion_lightning.errors import UserError, nearest
from emotion_lightning.models import Network


class TimmBackbone(Network):
    """Maps pictures (B, C, H, W) to logits: maximum and mean over the body's positions, then two linear layers."""

    def __init__(self, body: nn.Module, classes: int, hidden: int):
        super().__init__()
        self.body = body
        features = int(body.head_hidden_size)  # type: ignore[arg-type]
        self.features = features
        self.head = nn.Sequential(
            nn.BatchNorm1d(2 * features),
            nn.Dropout(0.25),
            nn.Linear(2 * features, hidden),
            nn.ReLU(),
            nn.BatchNorm1d(hidden),
            nn.Dropout(0.5),
            nn.Linear(hidden, classes),
        )

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        maps = self.body(x)  # (B, D, h, w) of a CNN, (B, h, w, D) of a Swin, (B, tokens, D) of a ViT
        if maps.shape[1] != self.features:
            maps = maps.movedim(-1, 1)
        maps = maps.flatten(2)
        return self.head(torch.cat([maps.amax(2), maps.mean(2)], dim=1))

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Returns three groups: first half of the stages, second half, head. For a ResNet: stem…layer2, layer3–4, head."""
        from timm.models import group_parameters

        stages: dict[Any, list[str]] = group_parameters(self.body, self.body.group_matcher(coarse=True))  # type: ignore[operator]
        named, order = dict(self.body.named_parameters()), sorted(stages)
        cut = (len(order) + 1) // 2
        halves = [[named[n] for stage in part for n in stages[stage]] for part in (order[:cut], order[cut:])]
        return [*halves, list(self.head.parameters())]


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    backbone: str = "resnet34",
    weights: str = "imagenet",
    hidden: PositiveInt = 512,
    options: dict[str, Any] | None = None,
) -> TimmBackbone:
    """`hidden` is the width of the head's inner layer. `options` are passed to timm (`{img_size: 256}` for a ViT).

    Raises:
        UserError: timm has no such network, the weights cannot be had, or the file or the options do not fit.
    """
    import timm

    if backbone.split(".")[0] not in timm.list_models():
        raise UserError(f"model.backbone: timm has no network '{backbone}'{nearest(backbone, timm.list_models())}")
    settings: dict[str, Any] = {"num_classes": 0, "global_pool": "", "in_chans": shape[0], **(options or {})}
    if weights not in ("none", "imagenet"):
        if not Path(weights).is_file():
            raise UserError(f"model.weights: there is no file '{weights}'; other values are `imagenet` and `none`")
        settings["pretrained_cfg_overlay"] = {"file": weights}
    try:
        if weights == "imagenet":
            _ask_hub_once()
        elif weights != "none":
            _check_file(backbone, weights)
        body = timm.create_model(backbone, pretrained=weights != "none", **settings)
    except TypeError as error:
        raise UserError(f"model.options: {backbone} does not take them ({error})") from error
    except Exception as error:  # torch, timm and safetensors raise many types for a file that they cannot read
        raise UserError(_weights_message(backbone, weights, error)) from error
    return TimmBackbone(body, classes, hidden)


def _ask_hub_once() -> None:
    """Sets huggingface_hub to offline mode if the hub cannot be reached.

    In offline mode it uses an earlier download or fails at once; otherwise it would retry for a minute.
    """
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        requests.head(huggingface_hub.constants.ENDPOINT, timeout=10)
    except requests.RequestException:
        huggingface_hub.constants.HF_HUB_OFFLINE = True


def _check_file(backbone: str, file: str) -> None:
    """Checks that the file has all tensors. timm would leave missing ones random, without a warning."""
    import timm

    given = timm.models.load_state_dict(file)
    body = timm.create_model(backbone, num_classes=0)
    if missing := [name for name, _ in body.named_parameters() if name not in given]:
        raise KeyError(f"the file lacks {len(missing)} of its tensors, such as {missing[0]}")


def _weights_message(backbone: str, weights: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:120].rstrip(" .")
    if weights == "imagenet":
        return (
            f"model.weights: the ImageNet weights of {backbone} cannot be reached here ({reason}); "
            'SET="model.weights=<file>" reads them from a file, SET="model.weights=none" starts from scratch'
        )
    return f"model.weights: {weights} does not fit {backbone} ({reason})"
