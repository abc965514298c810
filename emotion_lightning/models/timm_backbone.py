"""Any timm network, with the head and the layer groups of DeepEmoNet's ResNet34 (those of fastai).

Weights: `imagenet` (of the file weights/imagenet_<backbone>.yaml if there is one, else downloaded by timm), the name of a file
in weights/, `none`, or the path of a local file (.safetensors, .pth, .bin).
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from emotion_lightning import weights as pretrained
from emotion_lightning.errors import UserError, nearest
from emotion_lightning.models import Network
from emotion_lightning.weights import Origin
from emotion_lightning.weights.fetch import use_hub_offline_if_unreachable
from emotion_lightning.weights.formats import tensors


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
    own = f"imagenet_{backbone}" if weights == "imagenet" else weights
    try:
        if own in pretrained.files():
            body, origin = _from_own_file(backbone, own, settings)
        else:
            body, origin = _from_timm(backbone, weights, settings)
    except UserError:
        raise
    except TypeError as error:
        raise UserError(f"model.options: {backbone} does not take them ({error})") from error
    except Exception as error:  # torch, timm and safetensors raise many types for a file that they cannot read
        raise UserError(_weights_message(backbone, weights, error)) from error
    network = TimmBackbone(body, classes, hidden)
    network.pretrained = origin
    return network


def _from_own_file(backbone: str, name: str, settings: dict[str, Any]) -> tuple[nn.Module, tuple[Origin, ...]]:
    """Builds the body with weights of weights/NAME.yaml, whose tensors are in timm's order, whatever their names."""
    import timm

    about = pretrained.load(name)
    if about.architecture != backbone:
        raise UserError(f"model.weights: {name} are of the network {about.architecture}, not of {backbone}")
    body = timm.create_model(backbone, **settings)
    own, given = ({k: v for k, v in t.items() if "num_batches" not in k} for t in (body.state_dict(), tensors(about)))
    matched = dict(
        zip(own, given.values(), strict=False)
    )  # the last ones given are of the classifier, which a body lacks
    if wrong := [name for name, tensor in own.items() if name not in matched or matched[name].shape != tensor.shape]:
        raise KeyError(f"{len(wrong)} tensors have another shape, such as {wrong[0]}")
    body.load_state_dict(matched, strict=False)
    return body, (about.origin,)


def _from_timm(backbone: str, weights: str, settings: dict[str, Any]) -> tuple[nn.Module, tuple[Origin, ...]]:
    """Builds the body with timm's own ImageNet weights, those of a local file, or random ones."""
    import timm

    if weights == "none":
        return timm.create_model(backbone, **settings), ()
    if weights == "imagenet":
        use_hub_offline_if_unreachable()
        body = timm.create_model(backbone, pretrained=True, **settings)
        about: dict[str, Any] = dict(body.pretrained_cfg)  # type: ignore[arg-type]
        name = ".".join(filter(None, (backbone.split(".")[0], about.get("tag"))))
        return body, (Origin(f"timm {name}", "", about.get("license") or "not known", "ImageNet"),)
    if not (file := Path(weights)).is_file():
        names = ", ".join(pretrained.files())
        raise UserError(
            f"model.weights: there is no file '{weights}'; other values are `imagenet`, `none`, and the names {names}"
        )
    _check_file(backbone, weights)
    body = timm.create_model(backbone, pretrained=True, pretrained_cfg_overlay={"file": weights}, **settings)
    return body, (Origin(file.name, hashlib.sha256(file.read_bytes()).hexdigest(), "not known", "not known"),)


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
