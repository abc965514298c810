"""Makes a second file whose network has weights of 8 bits. The front end keeps its 32 bits."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static

from emotion_lightning.data.audio import Waveform
from emotion_lightning.errors import UserError
from emotion_lightning.serving.onnx.recogniser import Graph

SCOPES = "pkg.torch.onnx.name_scopes"
"""The exporter's own note at each node: the modules that it comes from."""
ENCODER = ".encoder."
SENSITIVE = ("fc2", "output_dense")
"""The second product in each block of an encoder. With it, 6 of 100 clips got another emotion, else 2 (Whisper base, LDA)."""
MOST = 64  # clips that choose the ranges of activations


class Reader(CalibrationDataReader):
    """Gives ONNX Runtime the inputs of clips, one by one."""

    def __init__(self, graph: Graph, waves: Sequence[Waveform]):
        self.inputs: Iterator[dict[str, Any]] = (graph.inputs([wave]) for wave in waves[:MOST])

    def get_next(self) -> dict[str, Any] | None:
        return next(self.inputs, None)


def quantise(graph: Graph, file: Path, target: Path, waves: Sequence[Waveform]) -> str:
    """Writes `target`, and returns how it was made.

    A network with convolutions gets fixed ranges of its inputs, by these waveforms. Other networks and speech encoders get those
    of each input as it runs, since a few activations of an encoder are very large.

    Raises: UserError for a graph without a network's weights.
    """
    nodes, has_encoder = _network_nodes(onnx.load(file))
    if not nodes:
        raise UserError("INT8: this model has no network whose weights could have 8 bits; leave INT8 out")
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # that the model could be preprocessed: the exporter did this
    try:
        if "Conv" in nodes.values() and not has_encoder:
            quantize_static(
                file,
                target,
                Reader(graph, waves),
                quant_format=QuantFormat.QDQ,
                nodes_to_quantize=list(nodes),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
            return f"static, ranges of {min(len(waves), MOST)} clips"
        products = [name for name, operator in nodes.items() if operator != "Conv"]  # ONNX Runtime is slow with these
        quantize_dynamic(file, target, nodes_to_quantize=products, per_channel=True, weight_type=QuantType.QInt8)
        return "dynamic"
    finally:
        logging.disable(level)


def _network_nodes(model: onnx.ModelProto) -> tuple[dict[str, str], bool]:
    """Returns the names and operators of the nodes with weights of a network or a speech encoder, and whether there is one."""
    found, has_encoder = {}, False
    for node in model.graph.node:
        notes = {note.key: note.value for note in node.metadata_props}
        scopes = notes.get(SCOPES, "")
        if any(name in scopes for name in SENSITIVE):
            continue
        if node.op_type in ("Conv", "MatMul", "Gemm", "LSTM") and ("'network" in scopes or ENCODER in scopes):
            found[node.name] = node.op_type
            has_encoder |= ENCODER in scopes
    return found, has_encoder
