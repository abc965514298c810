"""One clip of 3 s on one thread, from the waveform to calibrated probabilities: the exported model against the package in torch.

The models are trained on generated voices for one epoch at most, because the time does not depend on the weights.
"""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.timing import Row, Setting, in_turns, run_ours
from emotion_lightning import weights
from emotion_lightning.serving import package
from emotion_lightning.serving.onnx import about as exported
from emotion_lightning.serving.onnx import measure
from emotion_lightning.serving.onnx.recogniser import OnnxRecogniser
from emotion_lightning.serving.recogniser import Recogniser
from emotion_lightning.weights.fetch import find

VOICES = ('corpora=["demo"]', "corpora.demo={speakers: 4, takes: 1}", "protocol=speaker_folds")
RESNET = ("features.height=128", "features.width=128", "fit.stages.main={size: 128, epochs: 1, lr: 1e-3}")
CASES: dict[str, tuple[str, ...]] = {
    "best_small": ("best_small",),
    "ResNet34, 128 px": ("resnet_scratch", *RESNET),
    "Whisper head": ("whisper_head", "fit.stages.main={epochs: 1, lr: 1e-3}"),
}


def rows(setting: Setting) -> Iterator[Row]:
    for case, words in CASES.items():
        if words[0].startswith("whisper") and find(weights.load("whisper_base")) is None:
            continue
        onnx, torch = _models(words, setting.work)
        wave = np.random.default_rng(0).normal(0, 0.1, 3 * onnx.rate).astype(np.float32)
        p95: list[float] = []
        ours, theirs = in_turns(setting.rounds, partial(_p50, onnx, wave, p95), partial(_p50, torch, wave, []))
        yield Row(f"{case}: p50", ours, "ms", theirs, "torch")
        yield Row(f"{case}: p95", p95[1:], "ms")
        yield Row(f"{case}: real-time factor", [ms / 1000 / exported.CLIP_SECONDS for ms in ours], "")


def _models(words: tuple[str, ...], folder: Path) -> tuple[Recogniser, Recogniser]:
    """Trains and exports an experiment, and returns its model for ONNX Runtime with one thread, and that for torch."""
    printed = run_ours("-m", "emotion_lightning", "train", *words, *VOICES, cwd=folder)
    found = re.search(r"run (\w{8}) ", printed)
    assert found, printed
    target = folder / f"export-{found[1]}"
    run_ours("-m", "emotion_lightning", "export", "--run", found[1], "--out", str(target), cwd=folder)
    packages = list((folder / "mlruns").rglob(package.ABOUT))
    newest = max(packages, key=lambda file: file.stat().st_mtime).parent
    return OnnxRecogniser(target, threads=1), package.read(newest)


def _p50(model: Recogniser, wave: np.ndarray, p95: list[float]) -> float:
    speed = measure.speed(model.probabilities, wave, model.rate)
    p95.append(speed.p95_ms)
    return speed.p50_ms
