"""timm's networks as bodies, and where weights may come from."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import timm
import torch
from safetensors.torch import save_file
from test_models import CLASSES, assert_groups_cover, made_up
from torch import Tensor, nn

from emotion_lightning.errors import UserError
from emotion_lightning.models import timm_backbone


def backbone(name: str, weights: str = "none", **args: Any) -> timm_backbone.TimmBackbone:
    torch.manual_seed(0)
    return timm_backbone.build((3, 64, 64), CLASSES, backbone=name, weights=weights, **args)


def test_resnet34_has_the_papers_layer_groups() -> None:
    network = backbone("resnet34")
    names = {id(p): n for n, p in network.named_parameters()}
    first, second, head = [{".".join(names[id(p)].split(".")[:2]) for p in g} for g in network.layer_groups()]
    assert first == {"body.conv1", "body.bn1", "body.layer1", "body.layer2"}
    assert second == {"body.layer3", "body.layer4"}
    assert {n.split(".")[0] for n in head} == {"head"}
    assert_groups_cover(network)


def test_the_head_is_the_papers() -> None:
    """concat(max, mean) → BN → dropout 0.25 → linear 512 → ReLU → BN → dropout 0.5 → linear 8."""
    head = backbone("resnet34").head
    kinds = [nn.BatchNorm1d, nn.Dropout, nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Dropout, nn.Linear]
    assert [type(layer) for layer in head] == kinds
    sizes = [(m.in_features, m.out_features) for m in head if isinstance(m, nn.Linear)]
    assert sizes == [(1024, 512), (512, 8)]
    assert [m.p for m in head if isinstance(m, nn.Dropout)] == [0.25, 0.5]


def test_the_head_sees_the_largest_and_the_mean_activation() -> None:
    network = backbone("resnet10t").eval()
    x, valid = made_up((3, 64, 64))
    seen: list[Tensor] = []
    network.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        network(x, valid)
        maps = network.body.forward_features(x)  # (4, 512, 2, 2)
    torch.testing.assert_close(seen[0], torch.cat([maps.amax((2, 3)), maps.mean((2, 3))], 1))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("vit_tiny_patch16_224", {"img_size": 64}),
        ("swin_tiny_patch4_window7_224", {"img_size": 64}),
        ("convnext_atto", None),
        ("efficientnet_lite0", None),
        ("mobilenetv3_small_050", None),  # its last layer is wider than timm's num_features
    ],
)
def test_other_families_of_networks_serve_as_bodies(name: str, options: dict[str, Any] | None) -> None:
    network = backbone(name, options=options).eval()
    with torch.no_grad():
        assert network(*made_up((3, 64, 64), 2)).shape == (2, CLASSES)
    assert_groups_cover(network)
    assert len(network.layer_groups()) == 3


# ---------------------------------------------------------------- weights


@pytest.fixture(scope="module")
def donor() -> nn.Module:
    """A network as timm publishes it: with a head for ImageNet's thousand classes."""
    torch.manual_seed(7)
    return cast(nn.Module, timm.create_model("resnet10t", num_classes=1000))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_come_from_a_local_file(donor: nn.Module, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"weights.{suffix}"
    if suffix == "pth":
        torch.save(donor.state_dict(), file)
    else:
        save_file(donor.state_dict(), file)
    body, plain = backbone("resnet10t", str(file)).body.state_dict(), backbone("resnet10t").body.state_dict()
    given = {name: value for name, value in donor.state_dict().items() if not name.startswith("fc.")}
    assert body.keys() == given.keys()
    assert all(torch.equal(body[name], given[name]) for name in given)
    assert not torch.equal(plain["conv1.0.weight"], given["conv1.0.weight"])


def refusal(name: str, weights: str = "none", **args: Any) -> str:
    with pytest.raises(UserError) as caught:
        backbone(name, weights, **args)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    message = refusal("resnet10t", str(tmp_path / "nix.pth"))
    assert message.startswith(f"model.weights: there is no file '{tmp_path}/nix.pth'")
    assert "`imagenet`" in message
    assert "`none`" in message


@pytest.mark.parametrize("other", ["resnet18", "convnext_atto", "test_vit"])
def test_a_file_of_another_network_is_refused(donor: nn.Module, tmp_path: Path, other: str) -> None:
    """Also where no name of the file fits, which timm passes over: training would start from random weights."""
    torch.save(donor.state_dict(), tmp_path / "resnet10t.pth")
    message = refusal(other, str(tmp_path / "resnet10t.pth"))
    assert message.startswith("model.weights: ")
    assert "resnet10t.pth does not fit" in message
    assert other in message


def test_a_file_of_a_shallower_network_of_the_family_is_refused(tmp_path: Path) -> None:
    """Every tensor of a ResNet18 has its place in a ResNet34, and half of those would stay random."""
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "resnet18.pth")
    assert "does not fit resnet34" in refusal("resnet34", str(tmp_path / "resnet18.pth"))


@pytest.mark.parametrize("content", [b"", b"junk" * 10, b"<html>not found</html>"])
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert refusal("resnet10t", str(tmp_path / name)).startswith("model.weights: ")


def test_an_unknown_backbone_is_refused_with_the_nearest_name() -> None:
    assert refusal("resnet34x") == "model.backbone: timm has no network 'resnet34x'; did you mean 'resnet34'?"


def test_an_option_that_the_backbone_does_not_take_is_refused() -> None:
    message = refusal("resnet10t", options={"img_size": 64})
    assert message.startswith("model.options: ")
    assert "img_size" in message


def test_an_unreachable_download_offers_the_two_ways_out(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE")}
    environment |= {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    code = (
        "from emotion_lightning.errors import UserError\n"
        "from emotion_lightning.models import timm_backbone\n"
        "try: timm_backbone.build((3, 64, 64), 8, backbone='resnet10t', weights='imagenet')\n"
        "except UserError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (message,) = done.stdout.splitlines()
    assert message.startswith("model.weights: the ImageNet weights of resnet10t cannot be reached here")
    assert 'SET="model.weights=<file>"' in message
    assert 'SET="model.weights=none"' in message
