"""OnnxRecogniser: a Recogniser whose probabilities come from ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotion_lightning.data.audio import Waveform
from emotion_lightning.features import Feature
from emotion_lightning.serving import package
from emotion_lightning.serving.onnx import about as exported
from emotion_lightning.serving.onnx.about import Input
from emotion_lightning.serving.recogniser import BATCH, Recogniser, batched
from emotion_lightning.training.calibration import Calibration

QUIET = 3  # of ONNX Runtime's log: errors only


class Graph:
    """A file of ONNX, and the feature to compute before it where the file does not hold it."""

    def __init__(self, file: Path, feature: Feature | None, threads: int | None = None):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = QUIET
        if threads:
            options.intra_op_num_threads = options.inter_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.feature = feature
        self.names = [given.name for given in self.session.get_inputs()]

    def inputs(self, waves: Sequence[Waveform]) -> dict[str, NDArray[np.generic]]:
        """Returns the inputs of the file for waveforms (samples,)."""
        tensors = [torch.from_numpy(np.ascontiguousarray(wave, np.float32)) for wave in waves]
        given: tuple[Tensor, Tensor] = (
            torch.nn.utils.rnn.pad_sequence(tensors, batch_first=True),
            torch.tensor([len(tensor) for tensor in tensors]),
        )
        with torch.inference_mode():
            ready = self.feature(*given) if self.feature else given
        return {name: tensor.numpy() for name, tensor in zip(self.names, ready, strict=True)}

    def __call__(self, waves: Sequence[Waveform]) -> NDArray[np.float32]:
        """Returns calibrated probabilities (N, classes)."""
        result: NDArray[np.float32] = self.session.run(None, self.inputs(waves))[0]
        return result


class OnnxRecogniser(Recogniser):
    """Answers like the Recogniser of the package that was exported."""

    def __init__(self, folder: Path, int8: bool = False, threads: int | None = None):
        """`folder` has export.json; `int8` takes its second file. `threads` limits ONNX Runtime.

        Raises: UserError for a folder that is not an export.
        """
        facts = exported.read(folder)
        file = facts.int8.file if int8 and facts.int8 else facts.file
        feature = front_end(folder / exported.PACKAGE, facts.input)
        self.graph = Graph(folder / file, feature, threads)
        # not those of the base class, which holds a model of torch
        self.about, self.audio, self.rate = facts.model, facts.audio, facts.model.sample_rate
        self.calibration = Calibration(**self.about.calibration.model_dump())
        self.min_confidence = self.about.min_confidence

    def probabilities(self, waves: Sequence[Waveform]) -> NDArray[np.float32]:
        result = np.empty((len(waves), len(self.about.classes)), np.float32)
        for batch in batched(sorted(range(len(waves)), key=lambda i: len(waves[i])), BATCH):
            result[batch] = self.graph([waves[i] for i in batch])
        return result


def front_end(folder: Path, given: Input) -> Feature | None:
    """Returns the feature of the package in `folder` for a graph that takes features, else None."""
    return package.read(folder).model.classifier.feature if given == "features" else None
