"""What every model keeps to; timm's networks as bodies; and where weights may come from."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor, nn

from emotion_lightning import parts
from emotion_lightning.errors import UserError
from emotion_lightning.models import Network, lstm, svm, timm_backbone

CLASSES = 8
SHAPES = [(1, 40, 64), (3, 64, 64)]
SMALL: dict[str, dict[str, Any]] = {"timm_backbone": {"backbone": "resnet10t", "weights": "none"}}
"""Arguments under which a model is small and needs no download; a model that is so by default has none here."""

ON_SHAPES = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))


def built(name: str, shape: tuple[int, int, int]) -> Network:
    torch.manual_seed(0)
    return cast(Network, parts.entry("models", name)(shape, CLASSES, **SMALL.get(name, {})))


def is_network(name: str) -> bool:
    return isinstance(built(name, SHAPES[0]), Network)


NETWORKS = [name for name in parts.names("models") if is_network(name)]
ESTIMATORS = sorted(set(parts.names("models")) - set(NETWORKS))
ON_MODELS = pytest.mark.parametrize("name", NETWORKS)
ON_ESTIMATORS = pytest.mark.parametrize("name", ESTIMATORS)


def made_up(shape: tuple[int, int, int], clips: int = 4) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(0)
    return torch.randn(clips, *shape, generator=chance), torch.linspace(0.5, 1.0, clips)


# ---------------------------------------------------------------- every network


@ON_SHAPES
@ON_MODELS
def test_a_model_gives_a_logit_for_each_class(name: str, shape: tuple[int, int, int]) -> None:
    for mode in (True, False):
        logits = built(name, shape).train(mode)(*made_up(shape))
        assert logits.shape == (4, CLASSES)
        assert logits.isfinite().all()


@ON_SHAPES
@ON_MODELS
def test_one_step_changes_every_layer_group(name: str, shape: tuple[int, int, int]) -> None:
    network = built(name, shape).train()
    before = [[p.detach().clone() for p in group] for group in network.layer_groups()]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.0)
    nn.functional.cross_entropy(network(*made_up(shape)), torch.arange(4)).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
    optimizer.step()
    for old, new in zip(before, network.layer_groups(), strict=True):
        assert any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))


def assert_groups_cover(network: Network) -> None:
    grouped = [id(p) for group in network.layer_groups() for p in group]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in network.parameters()}
    assert all(network.layer_groups())


@ON_MODELS
def test_layer_groups_hold_every_parameter_once(name: str) -> None:
    assert_groups_cover(built(name, SHAPES[1]))


@ON_MODELS
def test_a_clips_logits_do_not_hang_on_its_batch(name: str) -> None:
    network = built(name, SHAPES[1]).eval()
    x, valid = made_up(SHAPES[1])
    with torch.no_grad():
        alone = torch.cat([network(x[i : i + 1], valid[i : i + 1]) for i in range(4)])
        torch.testing.assert_close(network(x, valid), alone, atol=1e-4, rtol=1e-4)


@ON_MODELS
def test_a_trained_state_fits_a_network_built_again(name: str) -> None:
    network = built(name, SHAPES[1])
    network(*made_up(SHAPES[1]))  # batch norms have seen something
    torch.manual_seed(1)
    again = cast(Network, parts.entry("models", name)(SHAPES[1], CLASSES, **SMALL.get(name, {})))
    again.load_state_dict(network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(*made_up(SHAPES[1])), network.eval()(*made_up(SHAPES[1])))


# ---------------------------------------------------------------- every scikit-learn estimator


def features_of(classes: int, clips: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """(N, 1, 6, 10) features that tell the classes apart, NaN behind each clip's end, and labels (N,)."""
    chance = np.random.default_rng(0)
    labels = np.arange(clips) % classes
    x = chance.normal(size=(clips, 1, 6, 10)).astype(np.float32) + labels[:, None, None, None]
    x[::2, ..., 7:] = np.nan
    return x, labels


def scores_of(estimator: Any, x: np.ndarray) -> np.ndarray:
    """(N, classes) probabilities or decision values."""
    return (estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.decision_function)(x)


@ON_ESTIMATORS
def test_an_estimator_scores_each_class_and_finds_it(name: str) -> None:
    estimator = parts.entry("models", name)((1, 6, 10), 3)
    x, labels = features_of(3)
    estimator.fit(x, labels)
    assert scores_of(estimator, x).shape == (60, 3)
    assert (scores_of(estimator, x).argmax(1) == labels).mean() > 0.9


@ON_ESTIMATORS
def test_an_estimator_does_not_hear_what_stands_behind_a_clip(name: str) -> None:
    estimator = parts.entry("models", name)((1, 6, 10), 3)
    x, labels = features_of(3)
    estimator.fit(x, labels)
    assert np.array_equal(scores_of(estimator, x[::2]), scores_of(estimator, x[::2, ..., :7]))


def test_the_svm_is_scikit_learns_and_decides_by_its_highest_value() -> None:
    chance = np.random.default_rng(1)
    x, labels = chance.normal(size=(120, 1, 6, 10)).astype(np.float32), chance.integers(0, 4, 120)
    x[:, 0] += labels[:, None, None] * 0.2  # hard: votes tie
    ours = svm.build((1, 6, 10), 4, C=2.0).fit(x, labels)
    plain = make_pipeline(StandardScaler(), SVC(C=2.0, gamma=1 / 6, break_ties=True)).fit(x.mean(3)[:, 0], labels)
    assert 0.4 < (plain.predict(x.mean(3)[:, 0]) == labels).mean() < 1.0
    assert np.array_equal(ours.decision_function(x).argmax(1), plain.predict(x.mean(3)[:, 0]))
    assert np.array_equal(ours.predict(x), plain.predict(x.mean(3)[:, 0]))


# ---------------------------------------------------------------- timm's networks


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


# ---------------------------------------------------------------- the LSTM


def test_the_lstm_is_torchs_bidirectional_one_over_packed_sequences() -> None:
    torch.manual_seed(0)
    ours, theirs = lstm.build((1, 20, 50), CLASSES, hidden=16).eval(), nn.LSTM(20, 16, 2, True, True, 0.0, True)
    for layer in range(2):
        for suffix, modules in (("", ours.forwards), ("_reverse", ours.backwards)):
            for name, value in modules[layer].named_parameters():
                theirs.get_parameter(name.removesuffix("_l0") + f"_l{layer}{suffix}").data.copy_(value)
    x, valid = torch.randn(5, 1, 20, 50), torch.tensor([1.0, 0.5, 0.26, 0.02, 0.9])
    packed = nn.utils.rnn.pack_padded_sequence(
        x[:, 0].transpose(1, 2), (valid * 50).round().long(), batch_first=True, enforce_sorted=False
    )
    _, (state, _) = theirs(packed)
    torch.testing.assert_close(ours(x, valid), ours.head(torch.cat([state[-2], state[-1]], 1)))


def test_the_lstm_does_not_hear_what_stands_behind_a_clip() -> None:
    network = lstm.build((1, 20, 50), CLASSES, hidden=16).eval()
    x, valid = torch.randn(2, 1, 20, 50), torch.tensor([0.5, 1.0])
    before = network(x, valid)
    x[:, :, :, 25:] += 100.0
    after = network(x, valid)
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])
