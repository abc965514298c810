"""A training step forward as a GPU takes it, on fake tensors: they have a device and no values, so that one that needs a value on
the host, for which a GPU would have to be waited for, fails here; and so does one that mixes devices."""

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from small_run import small
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from emotion_lightning.train import build
from emotion_lightning.training.classifier import EmotionClassifier

GPU = torch.device("cuda")
FRAMES = {
    "features": "log_mel",
    "fit.stages.small.size": "null",
    "fit.stages.large.size": "null",
    "augment.image_transforms": "off",
}


@pytest.fixture(scope="module", autouse=True)
def beta_has_a_shape():
    """torch has no fake kernel for what Beta is drawn from; its CUDA kernel does not wait."""
    library = torch.library.Library("aten", "IMPL", "Meta")
    library.impl("_sample_dirichlet", lambda like, generator=None: torch.empty_like(like))
    yield
    library._destroy()


class NoWayBack(TorchDispatchMode):
    """Fake tensors may be copied to the CPU, for which a GPU would be waited for."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        to = (kwargs or {}).get("device")
        assert not (to and to.type == "cpu" and args and isinstance(args[0], Tensor) and args[0].is_cuda), func
        return func(*args, **(kwargs or {}))


def on_fake_gpu(module: nn.Module) -> None:
    """Parameters and buffers give way to fake ones; only within a FakeTensorMode."""
    for part in module.modules():
        for held in (part._parameters, part._buffers):
            for name, there in held.items():
                if there is not None:
                    fake = torch.empty(there.shape, dtype=there.dtype, device=GPU)
                    held[name] = nn.Parameter(fake) if isinstance(there, nn.Parameter) else fake


def step(cache: Path, **options: str) -> Tensor:
    """The loss of one training step on the fake GPU; torch cannot go backward there without a real one."""
    data, classifier = build(small(cache, **options), Console(quiet=True))
    assert isinstance(classifier, EmotionClassifier)
    gather = data.gather_waveforms if data.waveforms_in_training else data.gather
    real = gather(torch.arange(4), torch.device("cpu"))
    classifier.train()
    with FakeTensorMode(), NoWayBack():
        on_fake_gpu(classifier)
        fake = type(real)(real.indices, *(torch.empty(t.shape, dtype=t.dtype, device=GPU) for t in real[1:]))
        return classifier.training_step(fake, 0)


STEPS = {
    "pictures with Mixup and image transforms": {},
    "masks": {"augment.spec_augment": "{}"},
    "waveforms": FRAMES | {"augment.noise": "{}"},
    "1D-CNN": FRAMES | {"model": "cnn1d_attention"},
    "ResNet": {"model": "{name: timm_backbone, backbone: resnet10t, weights: none}"},
}  # no LSTM: it goes to cuDNN past the fake tensors


@pytest.mark.parametrize("options", STEPS.values(), ids=STEPS)
def test_a_step_never_waits_for_the_gpu(demo_data: Path, options: dict[str, str]) -> None:
    assert step(demo_data, **options).device.type == "cuda"


def test_a_step_that_copies_to_the_host_fails(demo_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(F, "one_hot", lambda labels, classes: torch.eye(classes)[labels.cpu()].to(GPU))
    with pytest.raises(AssertionError, match="_to_copy"):
        step(demo_data)


def test_a_step_that_reads_a_value_fails(demo_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(F, "one_hot", lambda labels, classes: torch.eye(classes, device=GPU)[labels.tolist()])
    with pytest.raises(DataDependentOutputException):
        step(demo_data)
