"""The two graphs that a model can be exported as: from waveforms, or from the stored features where those cannot be exported."""

import logging
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emotion_lightning.features import Feature
from emotion_lightning.serving.onnx.about import Input
from emotion_lightning.serving.onnx.estimators import Estimator
from emotion_lightning.serving.onnx.features import batched
from emotion_lightning.serving.onnx.operators import Exportable
from emotion_lightning.serving.recogniser import Recogniser
from emotion_lightning.training.calibration import Calibration
from emotion_lightning.training.inference import Model

NAMES: dict[Input, tuple[str, str]] = {"waves": ("waves", "lengths"), "features": ("features", "valid")}


class FromFeatures(nn.Module):
    """Maps stored features (B, C, F, T) and valid shares (B,) to calibrated probabilities (B, classes)."""

    def __init__(self, model: Model, calibration: Calibration):
        super().__init__()
        self.model: nn.Module = model if isinstance(model, nn.Module) else Estimator(model)
        self.answers, self.calibration = getattr(self.model, "probabilities", self.model), calibration

    def forward(self, features: Tensor, valid: Tensor) -> Tensor:
        return self.calibration.apply(self.answers(features, valid))


class FromWaves(nn.Module):
    """Maps waveforms (B, samples) and their lengths (B,) to calibrated probabilities (B, classes)."""

    def __init__(self, feature: Feature, model: Model, calibration: Calibration):
        super().__init__()
        self.feature = feature
        self.rest = FromFeatures(model, calibration)

    def forward(self, waves: Tensor, lengths: Tensor) -> Tensor:
        return self.rest(*self.feature(waves, lengths))


class NotExportable(Exception):
    """Raised where torch cannot export a graph. The message is the reason."""


def to_onnx(recogniser: Recogniser, kind: Input, waves: Tensor, lengths: Tensor, file: Path) -> int:
    """Writes the graph to a file, with a batch and waveforms of any length, and returns the version of ONNX's operators.

    `waves` (B, samples) and `lengths` (B,) are an example.

    Raises:
        NotExportable: the feature goes clip by clip, or torch's exporter fails.
        UserError: the scikit-learn model has no counterpart in estimators.py.
    """
    model = recogniser.model.classifier
    any_size = torch.export.Dim.DYNAMIC
    graph: nn.Module
    if kind == "waves":
        if not (feature := batched(model.feature)):
            raise NotExportable(f"the feature {model.experiment.features.name} is computed clip by clip")
        graph = FromWaves(feature, model, recogniser.calibration)
        example, shapes = (waves, lengths), ({0: any_size, 1: any_size}, {0: any_size})
    else:
        graph = FromFeatures(model, recogniser.calibration)
        with torch.no_grad():
            example, shapes = model.feature(waves, lengths), ({0: any_size}, {0: any_size})
    program = _exported(graph.eval(), example, shapes, NAMES[kind])
    program.save(file)
    return int(program.model.opset_imports[""])


def _exported(graph: nn.Module, example: tuple[Tensor, ...], shapes: Any, names: Sequence[str]) -> Any:
    printed = StringIO()  # a failed export prints pages of its graph
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            torch.no_grad(),
            Exportable(),
            warnings.catch_warnings(),
            redirect_stdout(printed),
            redirect_stderr(printed),
        ):
            warnings.simplefilter("ignore")
            return torch.onnx.export(
                graph,
                example,
                dynamic_shapes=shapes,
                input_names=names,
                output_names=["probabilities"],
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().splitlines() or ["no reason given"]
        raise NotExportable(f"torch cannot export it ({reason[0][:200]})") from error
    finally:
        logging.disable(before)
