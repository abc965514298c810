"""Exports a model package to a folder: model.onnx, export.json, and the package where ONNX cannot hold the front end."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from emotion_lightning.errors import UserError
from emotion_lightning.serving import package
from emotion_lightning.serving.onnx import measure
from emotion_lightning.serving.onnx.about import FILE, PACKAGE, Export, Input, Int8, Parity, Scores
from emotion_lightning.serving.onnx.clips import Clips
from emotion_lightning.serving.onnx.graph import NotExportable, to_onnx
from emotion_lightning.serving.onnx.quantise import quantise
from emotion_lightning.serving.onnx.recogniser import Graph
from emotion_lightning.serving.recogniser import Recogniser
from emotion_lightning.training import metrics

BOUND = 1e-4  # of a probability
MOST_CHANGED = 0.1  # of the clips may get another emotion with 8 bits
MODEL, MODEL_INT8 = "model.onnx", "model.int8.onnx"


@dataclass(frozen=True)
class Written:
    """A graph in a file, the version of ONNX's operators, and where its front end is."""

    graph: Graph
    opset: int
    given: Input
    front_end: str


def export(source: Path, target: Path, clips: Clips, int8: bool, say: Callable[[str], None]) -> Export:
    """Exports the package in `source` to the folder `target`, checks and measures it.

    The front end is in the graph if it can be exported and the probabilities agree with torch's. Else the graph takes features,
    and the package is copied, whose front end computes them with torch.

    Raises: UserError where the probabilities differ from torch's by 1e-4 or more, or the model cannot be exported.
    """
    recogniser = package.read(source)
    expected = recogniser.probabilities(clips.waves)
    _clear(source, target)
    file = target / MODEL
    try:
        written = _write_best(recogniser, file, clips, expected, say)
    except NotExportable as reason:
        file.unlink(missing_ok=True)
        raise UserError(f"EXPORT: the model cannot be exported: {reason}") from None
    largest = require_parity(file, written.graph, clips, expected)
    if written.given == "features":
        shutil.copytree(source, target / PACKAGE)
    about = Export(
        model=recogniser.about,
        audio=recogniser.audio,
        input=written.given,
        front_end=written.front_end,
        file=MODEL,
        megabytes=file.stat().st_size / 1e6,
        opset=written.opset,
        parity=Parity(largest_difference=largest, clips=len(clips.waves), of=clips.of),
        speed=measure.speed(written.graph, clips.waves[0], recogniser.rate),
    )
    _save(about, target)
    if int8:
        say("choosing weights of 8 bits …")
        about = about.model_copy(update={"int8": _int8(written.graph, target, clips, expected, recogniser.rate)})
        _save(about, target)
    return about


def _clear(source: Path, target: Path) -> None:
    """Makes the folder, and removes the files of an earlier export from it.

    Raises: UserError where the package itself is in the folder.
    """
    if source.resolve().is_relative_to(target.resolve()):
        raise UserError(f"OUT: '{target}' holds the model that is exported; name another folder")
    target.mkdir(parents=True, exist_ok=True)
    if (target / FILE).exists():
        shutil.rmtree(target / PACKAGE, ignore_errors=True)
        for old in (MODEL, MODEL_INT8, FILE):
            (target / old).unlink(missing_ok=True)


def _save(about: Export, folder: Path) -> None:
    (folder / FILE).write_text(about.model_dump_json(indent=1), encoding="utf-8")


def _write_best(
    recogniser: Recogniser, file: Path, clips: Clips, expected: NDArray[np.float32], say: Callable[[str], None]
) -> Written:
    """Writes the graph from waveforms if it is right, else the one from features.

    Raises:
        NotExportable: neither can be exported.
    """
    example = [torch.from_numpy(np.ascontiguousarray(wave)) for wave in (sorted(clips.waves, key=len) * 2)[-2:]]
    lengths = torch.tensor([len(wave) for wave in example])
    waves = torch.nn.utils.rnn.pad_sequence(example, batch_first=True)
    try:
        say("exporting the front end and the network …")
        opset = to_onnx(recogniser, "waves", waves, lengths, file)
        graph = Graph(file, None, threads=1)
        largest = measure.largest_difference(graph, expected, clips.waves)
        if largest < BOUND:
            return Written(graph, opset, "waves", "in the graph")
        reason = f"in the graph, probabilities would differ by {largest:.1e}"
    except NotExportable as error:
        reason = str(error)
    say(f"exporting without the front end: {reason} …")
    opset = to_onnx(recogniser, "features", waves, lengths, file)
    graph = Graph(file, recogniser.model.classifier.feature, threads=1)
    return Written(graph, opset, "features", f"torch, in {PACKAGE}/ ({reason})")


def require_parity(file: Path, graph: Graph, clips: Clips, expected: NDArray[np.float32]) -> float:
    """Returns the largest difference from the expected probabilities (N, classes), if it is below 1e-4.

    Raises: UserError, and deletes the file, if it is not.
    """
    largest = measure.largest_difference(graph, expected, clips.waves)
    if not largest < BOUND:
        file.unlink()
        raise UserError(
            f"EXPORT: refused, {file} was deleted: a probability differs from torch's by {largest:.1e} on {len(clips.waves)} "
            f"clips ({clips.of}); less than {BOUND:.0e} is needed"
        )
    return largest


def _int8(graph: Graph, target: Path, clips: Clips, expected: NDArray[np.float32], rate: int) -> Int8:
    file = target / MODEL_INT8
    method = quantise(graph, target / MODEL, file, clips.training or clips.waves)
    small = Graph(file, graph.feature, threads=1)
    answers = np.concatenate([small([wave]) for wave in clips.waves])
    changed = float((answers.argmax(1) != expected.argmax(1)).mean())
    if changed > MOST_CHANGED:
        file.unlink()
        raise UserError(
            f"INT8: refused, {file} was deleted: with 8 bits, {changed:.0%} of {len(clips.waves)} clips ({clips.of}) get another "
            f"emotion; at most {MOST_CHANGED:.0%} may. {target / MODEL} is ready to use"
        )
    return Int8(
        file=MODEL_INT8,
        megabytes=file.stat().st_size / 1e6,
        method=method,
        largest_difference=float(np.abs(answers - expected).max()),
        changed=changed,
        speed=measure.speed(small, clips.waves[0], rate),
        scores=_scores(small, clips),
        scores_before=_scores(graph, clips),
    )


def _scores(graph: Graph, clips: Clips) -> Scores | None:
    if not clips.test:
        return None
    answers = torch.from_numpy(np.concatenate([graph([wave]) for wave in clips.test]))
    found = metrics.scores(torch.from_numpy(clips.labels), answers)
    return Scores(uar=found["uar"], accuracy=found["accuracy"])
