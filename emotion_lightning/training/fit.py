"""Fits a network with Lightning, or a scikit-learn estimator; both then give probabilities. One evaluation on one
device: distributed samplers would repeat clips to fill batches, and figures must not change with the number of devices.
"""

import ctypes
import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from emotion_lightning.config import ranks
from emotion_lightning.config.schema import Experiment, Fit
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.data.filesystem import digest
from emotion_lightning.errors import UserError
from emotion_lightning.training import ddp as distributed
from emotion_lightning.training import estimator_file, metrics
from emotion_lightning.training.callbacks import EpochRecord, Patience, Schedule, ShowProgress
from emotion_lightning.training.classifier import EmotionClassifier
from emotion_lightning.training.estimator import EmotionEstimator
from emotion_lightning.training.schedule import cycles

Model = EmotionClassifier | EmotionEstimator
Record = Callable[[dict[str, float], int], None]


@dataclass(frozen=True)
class Fitted:
    """What training left: a classifier that holds the weights of `epoch` (from 0; None where there are no epochs), ready
    on its device. `kept` is the file of what the test side is read with; `files` are all that are worth keeping."""

    classifier: Model
    epoch: int | None
    seconds: float
    kept: Path
    files: tuple[Path, ...]


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
    for name in ("lightning.pytorch", "lightning.fabric", "lightning", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module="lightning")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    torch.set_float32_matmul_precision("high")
    if mallopt := _mallopt():
        for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 2**28)):  # M_MMAP_MAX, M_TRIM_THRESHOLD, M_TOP_PAD
            mallopt(option, value)


def memory_format() -> str:
    """How a network's tensors lie in memory, and whether freed blocks are kept; a run's tag."""
    return "channels last" + (", freed blocks kept" if _mallopt() else "")


def _mallopt() -> Callable[[int, int], int] | None:
    return getattr(ctypes.CDLL(None), "mallopt", None)


def fit(data: EmotionData, model: Model, work: Path, record: Record, console: Console) -> Fitted:
    """Trains on the training side and writes to `work` what is to be kept. `record` gets each epoch's figures."""
    if isinstance(model, EmotionEstimator):
        return _fit_estimator(data, model, work, record)
    return _fit_network(data, model, work, record, console)


def _fit_estimator(data: EmotionData, model: EmotionEstimator, work: Path, record: Record) -> Fitted:
    """In one go: figures of the validation side and of clean training clips stand as those of one epoch."""
    kept = work / "best.skops"
    estimator_file.save(model, kept)  # one that cannot be kept is refused before it is fitted
    start = time.perf_counter()
    train, val = (
        data.gather(torch.from_numpy(index), torch.device("cpu")) for index in (data.split.train, data.split.val)
    )
    model.fit(train, val)
    seconds = time.perf_counter() - start
    figures = {"clips_per_second": len(data.split.train) / seconds}
    for side, index in (("val", data.split.val), ("train", data.gap_clips())):
        scores = metrics.scores(data.labels[torch.from_numpy(index)], probabilities(model, data, index))
        figures |= {f"{name}/{side}": value for name, value in scores.items()}
    record(figures | {"loss/gap": figures["loss/val"] - figures["loss/train"]}, 0)
    estimator_file.save(model, kept)
    return Fitted(model, None, seconds, kept, (kept,))


def _fit_network(
    data: EmotionData, classifier: EmotionClassifier, work: Path, record: Record, console: Console
) -> Fitted:
    """By the experiment's stages; a last.ckpt that stands in `work` is gone on from, on every rank alike."""
    experiment = classifier.experiment
    plan = cycles(experiment.fit.stages)
    epochs = plan[-1].first + plan[-1].epochs
    schedule = Schedule(plan, experiment.seed, experiment.fit.lr_search)
    best, last = _checkpoints(experiment.fit, work)
    earlier = str(work / "last.ckpt") if (work / "last.ckpt").exists() else None
    together = distributed.InStep(_before_first_step(data, experiment, earlier), experiment.fit.lr_search)
    callbacks: list[L.Callback] = [
        together,
        distributed.OwnSignals(),
        schedule,
        EpochRecord(schedule, record),
        ShowProgress(console, epochs),
        best,
        last,
    ]
    if experiment.fit.ema:
        callbacks.append(EMAWeightAveraging(decay=experiment.fit.ema))
    if experiment.fit.patience:
        # at the end of the epoch's training, as the checkpoints, else it would look before they are written
        callbacks.append(
            Patience(
                experiment.fit.monitor,
                patience=experiment.fit.patience,
                mode=_mode(experiment.fit),
                check_on_train_epoch_end=True,
            )
        )
    trainer = make_trainer(experiment.fit, epochs, callbacks, any(c.frozen for c in plan))
    start = time.perf_counter()
    here = ranks.of(experiment.fit)
    with distributed.losses_told(here, console), together.awaited(here, console):
        trainer.fit(classifier, datamodule=data, ckpt_path=earlier, weights_only=True)
    seconds = time.perf_counter() - start
    files = (work / "best.ckpt", work / "last.ckpt")
    kept = files[0 if experiment.fit.keep == "best" else 1]
    if trainer.global_rank:
        return Fitted(classifier, None, seconds, kept, files)
    checkpoint = load(classifier, kept)
    classifier.to(trainer.strategy.root_device)
    return Fitted(classifier, int(checkpoint["epoch"]), seconds, kept, files)


def _before_first_step(data: EmotionData, experiment: Experiment, earlier: str | None) -> dict[str, str]:
    """What has to be the same on all ranks, by content: a copied corpus has files of other dates."""
    clips = [[data.clips[i] for i in data.split.side(side)] for side in ("train", "val")]
    return {
        "settings": experiment.signature(),
        "clips": digest([[(c.corpus, c.id, c.content, c.emotion) for c in side] for side in clips]),
        "fit.precision": precision(experiment.fit),
        "last.ckpt of the run": "there" if earlier else "none",
    }


def load(classifier: EmotionClassifier, file: Path) -> dict[str, Any]:
    """Puts a checkpoint's weights into the classifier and gives the checkpoint back."""
    checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    classifier.on_load_checkpoint(checkpoint)
    classifier.load_state_dict(checkpoint["state_dict"])
    return checkpoint


def probabilities(classifier: Model, data: EmotionData, index: NDArray[np.int64]) -> Tensor:
    """(N, classes) float32 on the CPU, in the precision that the classifier was trained in."""
    device, half = torch.device("cpu"), None
    if isinstance(classifier, EmotionClassifier):
        device = classifier.eval().device
        half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(precision(classifier.experiment.fit))
    result = []
    with torch.inference_mode(), torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
        for rows in data.loader(index):
            batch = data.gather(rows, device)
            result.append(classifier.probabilities(batch.stored, batch.extent).cpu())
    return torch.cat(result)


def _checkpoints(settings: Fit, work: Path) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """One for the best epoch's weights, one for the whole state after every epoch; both written whole or not at all."""
    common: dict[str, Any] = {"dirpath": work, "save_on_train_epoch_end": True, "enable_version_counter": False}
    # Lightning leaves callbacks out of a checkpoint of weights only, and with them the averaged weights
    light = settings.ema is None
    best = ModelCheckpoint(
        filename="best", monitor=settings.monitor, mode=_mode(settings), save_weights_only=light, **common
    )
    last = ModelCheckpoint(filename="last", **common)
    return best, last


def _mode(settings: Fit) -> Literal["min", "max"]:
    return "min" if settings.monitor.startswith("loss") else "max"


def make_trainer(settings: Fit, epochs: int, callbacks: list[Any], freezes: bool) -> L.Trainer:
    where, gpu = ranks.of(settings), on_gpu(settings)
    if gpu:
        distributed.on_gpus(where)
    return L.Trainer(
        max_epochs=epochs,
        accelerator="gpu" if gpu else "cpu",
        **distributed.places(where, freezes),
        precision=precision(settings),  # type: ignore[arg-type]
        gradient_clip_val=settings.clip_grad,
        callbacks=callbacks,
        # else Lightning adds one of its own, which writes to ./checkpoints
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        logger=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1_000_000,
    )
