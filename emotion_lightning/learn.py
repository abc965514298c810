"""Fits a network with Lightning and gives back probabilities. One evaluation on one device: distributed samplers would
repeat clips to fill their batches, and figures must not change with the number of devices."""

import ctypes
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from emotion_lightning.callbacks import EpochRecord, Schedule, ShowProgress
from emotion_lightning.classifier import EmotionClassifier
from emotion_lightning.data import EmotionData
from emotion_lightning.errors import UserError
from emotion_lightning.experiment import Experiment, Fit
from emotion_lightning.schedule import cycles

Record = Callable[[dict[str, float], int], None]


@dataclass(frozen=True)
class Fitted:
    """What training left: the classifier holds the weights of `epoch` (from 0), ready on its device."""

    classifier: EmotionClassifier
    epoch: int
    seconds: float
    best: Path
    last: Path


def precision(fit: Fit) -> str:
    """Lightning's name for what `auto` comes to here: bf16 where the processor computes in it, else 32 bits.

    On AVX512-BF16 processors bf16 trained ResNets 1.6–3× as fast as fp32.
    """
    gpu = on_gpu(fit)
    if fit.precision == "16-mixed" and not gpu:
        raise UserError("fit.precision: 16-mixed needs a GPU (Lightning would silently take bf16 on a CPU)")
    if fit.precision != "auto":
        return {"32": "32-true"}.get(fit.precision, fit.precision)
    if gpu:
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "bf16-mixed" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "32-true"


def on_gpu(fit: Fit) -> bool:
    if fit.accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("fit.accelerator: gpu, but torch sees no CUDA device here")
    return fit.accelerator != "cpu" and torch.cuda.is_available()


def prepare_machine() -> None:
    """Libraries quiet, and large freed blocks kept: handing a step's activations back to the system and faulting them
    in again costs CPU steps up to a third of their time, less in bf16 (glibc's mallopt, elsewhere without effect)."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    torch.set_float32_matmul_precision("high")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**28)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
        if mallopt:
            mallopt(option, value)


def fit(
    experiment: Experiment,
    data: EmotionData,
    classifier: EmotionClassifier,
    work: Path,
    record: Record,
    console: Console,
) -> Fitted:
    """Trains by the experiment's stages; best.ckpt and last.ckpt are written to `work`, and a last.ckpt that stands there
    is gone on from, on every rank alike."""
    plan = cycles(experiment.fit.stages)
    epochs = plan[-1].first + plan[-1].epochs
    schedule = Schedule(plan, experiment.seed, experiment.fit.lr_search)
    best, last = _checkpoints(experiment.fit, work)
    callbacks = [schedule, EpochRecord(schedule, record), ShowProgress(console, epochs), best, last]
    if experiment.fit.ema:
        callbacks.append(EMAWeightAveraging(decay=experiment.fit.ema))
    trainer = _trainer(experiment.fit, epochs, callbacks, any(c.frozen for c in plan))
    start = time.perf_counter()
    earlier = str(work / "last.ckpt") if (work / "last.ckpt").exists() else None
    trainer.fit(classifier, datamodule=data, ckpt_path=earlier, weights_only=True)
    seconds = time.perf_counter() - start
    chosen = work / ("best.ckpt" if experiment.fit.keep == "best" else "last.ckpt")
    if trainer.global_rank == 0:
        checkpoint = load(classifier, chosen)
        classifier.to(trainer.strategy.root_device)
        return Fitted(classifier, int(checkpoint["epoch"]), seconds, work / "best.ckpt", work / "last.ckpt")
    return Fitted(classifier, 0, seconds, work / "best.ckpt", work / "last.ckpt")


def load(classifier: EmotionClassifier, file: Path) -> dict[str, Any]:
    """Puts a checkpoint's weights into the classifier and gives the checkpoint back."""
    checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    classifier.on_load_checkpoint(checkpoint)
    classifier.load_state_dict(checkpoint["state_dict"])
    return checkpoint


def probabilities(classifier: EmotionClassifier, data: EmotionData, index: NDArray[np.int64]) -> Tensor:
    """(N, classes) float32 on the CPU, in the precision that the classifier was trained in."""
    classifier.eval()
    device = classifier.device
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision(classifier.experiment.fit))
    result = []
    with torch.inference_mode(), torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
        for rows in data.loader(index):
            batch = data.gather(rows, device)
            result.append(classifier(batch.stored, batch.extent).softmax(1).cpu())
    return torch.cat(result)


def _checkpoints(settings: Fit, work: Path) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """One for the best epoch's weights, one for the whole state after every epoch; both written whole or not at all."""
    common: dict[str, Any] = {"dirpath": work, "save_on_train_epoch_end": True, "enable_version_counter": False}
    mode = "min" if settings.monitor.startswith("loss") else "max"
    # Lightning leaves callbacks out of a checkpoint of weights only, and with them the averaged weights
    light = settings.ema is None
    best = ModelCheckpoint(filename="best", monitor=settings.monitor, mode=mode, save_weights_only=light, **common)
    last = ModelCheckpoint(filename="last", **common)
    return best, last


def _trainer(settings: Fit, epochs: int, callbacks: list[Any], freezes: bool) -> L.Trainer:
    # a frozen parameter gets no gradient, which plain DDP would wait for
    distributed = "ddp_find_unused_parameters_true" if freezes else "ddp"
    return L.Trainer(
        max_epochs=epochs,
        accelerator="gpu" if on_gpu(settings) else "cpu",
        devices=settings.devices,
        strategy=distributed if settings.devices > 1 else "auto",
        precision=precision(settings),  # type: ignore[arg-type]
        gradient_clip_val=settings.clip_grad,
        callbacks=callbacks,
        logger=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1_000_000,
    )
