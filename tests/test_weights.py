"""Pretrained weights: their descriptions, the sources in order, the digest that decides, and the readers."""

import hashlib
import io
import pickle
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from file_server import Server
from huggingface_hub import constants

from emotion_lightning import weights
from emotion_lightning.config import parts
from emotion_lightning.errors import UserError
from emotion_lightning.weights import fetch, formats

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, -2.0])}
PACKAGE = {"packages": {"toy-weights": "toy_weights/model.bin"}}
HUB = {"hub": "toy/weights", "revision": "0" * 40, "file": "model.bin"}


def torch_file(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def ctranslate2_file(tensors: dict[str, torch.Tensor], version: int = 6) -> bytes:
    """A model.bin, written field by field as the format's description has it."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    out = struct.pack("<I", version) + text("WhisperSpec") + struct.pack("<II", 3, len(tensors))
    for name, tensor in tensors.items():
        data = tensor.numpy().tobytes()
        code = {torch.float32: 0, torch.float16: 4}[tensor.dtype]
        out += text(name) + struct.pack(f"<B{tensor.ndim}I", tensor.ndim, *tensor.shape)
        out += struct.pack("<BI", code, len(data)) + data
    return out


BODY = torch_file(TENSORS)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., weights.Weights]:
    """`toy(source, …, body=…)`: weights named toy with these sources, in a parts folder; every cache is empty."""
    monkeypatch.setenv(fetch.ENVIRONMENT, str(tmp_path / "kept"))
    monkeypatch.setenv(parts.ENVIRONMENT, str(tmp_path / "parts"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "site")])

    def toy(*sources: dict[str, Any], body: bytes = BODY, **changes: Any) -> weights.Weights:
        about = {"title": "Toy", "architecture": "toy", "licence": "MIT", "citation": "none", "trained_on": "nothing"}
        about |= {"size": len(body), "sha256": hashlib.sha256(body).hexdigest(), "format": "torch", **changes}
        folder = tmp_path / "parts" / "weights"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "toy.yaml").write_text(yaml.safe_dump({**about, "sources": list(sources)}, sort_keys=False))
        return weights.load("toy")

    return toy


def install(folder: Path, name: str, files: dict[str, bytes]) -> None:
    """Puts a package with these files where pip would."""
    about = folder / "site" / f"{name.replace('-', '_')}-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for path, content in files.items():
        file = folder / "site" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


# ---------------------------------------------------------------- descriptions


def test_every_shipped_file_is_valid_and_says_where_from() -> None:
    found = [weights.load(name) for name in weights.files()]
    assert {w.name for w in found} >= {"whisper_base", "imagenet_tf_efficientnet_lite0"}
    for about in found:
        assert about.licence and about.trained_on and about.citation


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sha256": "abc"}, "sha256"),
        ({"format": "pickle"}, "format"),
        ({"size": 0}, "size"),
        ({"licence": None}, "licence"),
        ({"nonsense": 1}, "nonsense: no such setting"),
    ],
)
def test_a_fault_in_a_file_is_one_line(toy: Callable[..., weights.Weights], change: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        toy(PACKAGE, **change)
    assert "toy.yaml" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({**HUB, "revision": "main"}, "sources.0.revision"),  # a branch can move
        ({"hub": "toy/weights"}, "needs hub, revision and file"),
        ({**HUB, "url": "https://example.org/x"}, "one of packages, hub and url"),
        ({"url": "file:///etc/passwd"}, "sources.0.url"),
        ({"packags": {}}, "sources.0.packags: no such setting; did you mean 'packages'"),
    ],
)
def test_a_fault_in_a_source_is_one_line(
    toy: Callable[..., weights.Weights], source: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        toy(source)


def test_an_unknown_name_gets_the_nearest(toy: Callable[..., weights.Weights]) -> None:
    toy(PACKAGE)
    with pytest.raises(UserError, match="did you mean 'whisper_base'"):
        weights.load("whisper_bse")


def test_two_files_of_one_name_are_refused(toy: Callable[..., weights.Weights], tmp_path: Path) -> None:
    toy(PACKAGE)
    (tmp_path / "parts" / "weights" / "whisper_base.yaml").write_text("")
    with pytest.raises(UserError, match="there is a file of that name in weights/ already"):
        weights.files()


# ---------------------------------------------------------------- sources


def test_a_package_serves(toy: Callable[..., weights.Weights], tmp_path: Path) -> None:
    install(tmp_path, "toy-weights", {"toy_weights/model.bin": BODY})
    about = toy(PACKAGE)
    assert fetch.fetch(about).source == "the package toy-weights"
    assert all(torch.equal(tensor, TENSORS[name]) for name, tensor in formats.tensors(about).items())


def test_parts_in_two_packages_are_joined_in_order(toy: Callable[..., weights.Weights], tmp_path: Path) -> None:
    install(tmp_path, "toy-one", {"toy_one/part1": BODY[:100]})
    install(tmp_path, "toy-two", {"toy_two/part2": BODY[100:]})
    order = {"toy-one": "toy_one/part1", "toy-two": "toy_two/part2"}
    assert fetch.fetch(toy({"packages": order})).content() == BODY
    with pytest.raises(UserError, match="SHA-256"):
        fetch.fetch(toy({"packages": dict(reversed(order.items()))}))


def test_a_missing_package_says_how_to_install_it(toy: Callable[..., weights.Weights]) -> None:
    with pytest.raises(UserError, match=r"toy-weights is not installed \(make weights, or pip install"):
        fetch.fetch(toy(PACKAGE))


def test_a_wrong_byte_is_refused_and_the_next_source_serves(
    toy: Callable[..., weights.Weights], tmp_path: Path, server: Server
) -> None:
    install(tmp_path, "toy-weights", {"toy_weights/model.bin": BODY[:-1] + b"!"})
    with pytest.raises(UserError, match=r"the package toy-weights: its SHA-256 is [0-9a-f]{16}… of"):
        fetch.fetch(toy(PACKAGE))
    server.body = BODY
    assert fetch.fetch(toy(PACKAGE, {"url": server.url})).source == server.url


def test_a_url_is_fetched_once_and_continued_after_a_lost_connection(
    toy: Callable[..., weights.Weights], server: Server
) -> None:
    body = torch_file({"a": torch.rand(50_000)})
    server.body, server.drops = body, [100_000]
    about = toy({"url": server.url}, body=body)
    assert fetch.find(about) is None
    assert fetch.fetch(about).content() == body
    first, second = server.asked
    assert first is None and second is not None and int(second.removeprefix("bytes=").rstrip("-")) > 50_000
    assert fetch.fetch(about).content() == body and len(server.asked) == 2


def test_a_wrong_download_is_deleted_and_no_source_is_left(
    toy: Callable[..., weights.Weights], server: Server, tmp_path: Path
) -> None:
    server.body = bytes(len(BODY))
    with pytest.raises(UserError, match=r"toy cannot be had: .*is not installed.*; http.*SHA-256"):
        fetch.fetch(toy(PACKAGE, {"url": server.url}))
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_file_that_was_changed_later_is_not_used(toy: Callable[..., weights.Weights], server: Server) -> None:
    server.body = BODY
    about = toy({"url": server.url})
    (file,) = fetch.fetch(about).files
    file.write_bytes(b"changed")
    with pytest.raises(UserError, match="SHA-256 is"):
        fetch.fetch(about)


def test_no_network_is_said_in_one_line(toy: Callable[..., weights.Weights], server: Server) -> None:
    server.statuses = [503] * 10
    with pytest.raises(UserError) as refused:
        fetch.fetch(toy(HUB, {"url": server.url}))
    message = str(refused.value)
    assert "the hub (toy/weights) cannot be reached" in message and "(it answered 503)" in message
    assert "\n" not in message


def test_the_hubs_own_cache_is_used(toy: Callable[..., weights.Weights], tmp_path: Path) -> None:
    snapshot = tmp_path / "hub" / "models--toy--weights" / "snapshots" / HUB["revision"]
    snapshot.mkdir(parents=True)
    (snapshot / "model.bin").write_bytes(BODY)
    assert fetch.fetch(toy(HUB)).source == "the hub (toy/weights)"


# ---------------------------------------------------------------- formats


def test_every_format_is_read(toy: Callable[..., weights.Weights], tmp_path: Path) -> None:
    half = {name: tensor.half() for name, tensor in TENSORS.items()}
    bodies = {"torch": BODY, "safetensors": safetensors.torch.save(TENSORS), "ctranslate2": ctranslate2_file(half)}
    for form, body in bodies.items():
        install(tmp_path, f"toy-{form}", {f"toy_{form}/model.bin": body})
        about = toy({"packages": {f"toy-{form}": f"toy_{form}/model.bin"}}, body=body, format=form)
        read = formats.tensors(about)
        assert set(read) == set(TENSORS)
        for name, tensor in read.items():
            np.testing.assert_array_equal(tensor.float(), TENSORS[name])


class Harmful:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("code of the file was run",)


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ("torch", torch_file({"a": Harmful()})),
        ("torch", pickle.dumps(Harmful())),
        ("torch", BODY[: len(BODY) // 2]),
        ("safetensors", b"no such thing"),
        ("ctranslate2", b"\x06\0\0"),
        ("ctranslate2", ctranslate2_file(TENSORS, version=5)),
        ("ctranslate2", ctranslate2_file(TENSORS)[:-1]),
    ],
)
def test_other_content_is_refused_and_runs_no_code(
    toy: Callable[..., weights.Weights], tmp_path: Path, capfd: pytest.CaptureFixture[str], form: str, body: bytes
) -> None:
    install(tmp_path, "toy-weights", {"toy_weights/model.bin": body})
    with pytest.raises(UserError, match=f"are not in the format {form}"):
        formats.tensors(toy(PACKAGE, body=body, format=form))
    assert "code of the file was run" not in "".join(capfd.readouterr())


# ---------------------------------------------------------------- the command


def test_the_list_says_what_is_here(
    toy: Callable[..., weights.Weights], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    from emotion_lightning.cli.weights import fetch_and_check, show

    toy(PACKAGE)
    show(Console(width=200))
    assert (
        "toy: " in (shown := capsys.readouterr().out) and "MIT, not here; make weights NAME=toy fetches them" in shown
    )
    install(tmp_path, "toy-weights", {"toy_weights/model.bin": BODY})
    show(Console(width=200))
    assert "MIT, here, from the package toy-weights" in capsys.readouterr().out
    fetch_and_check("toy", Console(width=200))
    assert "complete: the package toy-weights, SHA-256 " in capsys.readouterr().out


def test_the_command_refuses_in_one_line(tmp_path: Path, refusal: Callable[..., str]) -> None:
    assert refusal(tmp_path, "weights", "whisper_bas").count("\n") == 1


# ---------------------------------------------------------------- networks that start from them


@pytest.mark.skipif(
    fetch.find(weights.load("imagenet_tf_efficientnet_lite0")) is None, reason="its weights are not installed"
)
def test_imagenet_comes_from_the_package_where_a_file_names_the_network() -> None:
    from emotion_lightning.models import timm_backbone

    network = timm_backbone.build((3, 64, 64), 8, backbone="tf_efficientnet_lite0", weights="imagenet")
    (origin,) = network.pretrained
    assert (origin.name, origin.licence) == ("imagenet_tf_efficientnet_lite0", "Apache-2.0")
    given = formats.tensors(weights.load(origin.name))
    own = network.body.state_dict()
    for theirs, ours in (("_conv_stem.weight", "conv_stem.weight"), ("_bn1.running_var", "bn2.running_var")):
        torch.testing.assert_close(own[ours], given[theirs])
    torch.testing.assert_close(own["blocks.3.1.conv_dw.weight"], given["_blocks.6._depthwise_conv.weight"])


def test_weights_of_another_network_are_refused(toy: Callable[..., weights.Weights], tmp_path: Path) -> None:
    from emotion_lightning.models import timm_backbone

    install(tmp_path, "toy-weights", {"toy_weights/model.bin": BODY})
    toy(PACKAGE, architecture="resnet10t")
    with pytest.raises(UserError, match="toy are of the network resnet10t, not of resnet18"):
        timm_backbone.build((3, 64, 64), 8, backbone="resnet18", weights="toy")
    with pytest.raises(UserError, match="toy does not fit resnet10t"):
        timm_backbone.build((3, 64, 64), 8, backbone="resnet10t", weights="toy")
