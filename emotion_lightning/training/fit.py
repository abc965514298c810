"""Fits a network with Lightning, or a scikit-learn estimator, and writes the files that a run keeps."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from rich.console import Console

from emotion_lightning.config.ranks import resolve_ranks
from emotion_lightning.config.schema import Experiment, Fit
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.data.filesystem import digest
from emotion_lightning.training import ddp, estimator_file, hardware, metrics
from emotion_lightning.training.callbacks import Patience, ReportEpoch, Schedule, ShowProgress
from emotion_lightning.training.classifier import EmotionClassifier
from emotion_lightning.training.estimator import EmotionEstimator
from emotion_lightning.training.inference import Model, probabilities, restore
from emotion_lightning.training.schedule import Cycle, cycles

OnEpoch = Callable[[dict[str, float], int], None]
"""Called with an epoch's scores by name ("loss/val") and the epoch's number, from 1."""


@dataclass(frozen=True)
class Fitted:
    """A trained model, ready on its device, and its files.

    `epoch` is the epoch of its weights, from 1; None where there are no epochs. `kept` is the file of the model that the
    test split is read with. `refitted` is the model of `kept` if `fit.refit` fitted it on
    training and validation clips; `model` then is the one before, for the scores of the validation split.
    """

    model: Model
    epoch: int | None
    seconds: float
    kept: Path
    refitted: Model | None = None

    @property
    def tested(self) -> Model:
        """The model that the test split is read with."""
        return self.refitted or self.model


def fit(data: EmotionData, model: Model, folder: Path, on_epoch: OnEpoch, console: Console) -> Fitted:
    """Trains on the training split, writes the model's files to `folder` and calls `on_epoch` after each epoch.

    Raises: UserError for a lost rank, for ranks that differ, for too little memory, and for an estimator that cannot be saved.
    """
    batch = data.experiment.data.batch_size if model.trains_in_steps else None
    with hardware.lack_of_memory_as_user_error(batch):
        if isinstance(model, EmotionEstimator):
            return _fit_estimator(data, model, folder, on_epoch)
        return _fit_network(data, model, folder, on_epoch, console)


def _fit_estimator(data: EmotionData, model: EmotionEstimator, folder: Path, on_epoch: OnEpoch) -> Fitted:
    """Fits in one go. The scores of the validation split and of clean training clips count as those of one epoch."""
    file = folder / "best.skops"
    estimator_file.save(model, file)  # fail fast: an estimator that cannot be saved is not worth fitting
    start = time.perf_counter()
    train, val = (
        data.gather(torch.from_numpy(index), torch.device("cpu")) for index in (data.split.train, data.split.val)
    )
    speakers = {name: [data.clips[i].speaker for i in data.split.indices(name)] for name in ("train", "val")}
    model.fit(train, val, speakers["train"])
    refitted = model.refitted(train, val, speakers["train"] + speakers["val"]) if model.experiment.fit.refit else None
    seconds = time.perf_counter() - start
    figures = {"clips_per_second": len(data.split.train) / seconds}
    for split, index in (("val", data.split.val), ("train", data.gap_clips())):
        scores = metrics.scores(data.labels[torch.from_numpy(index)], probabilities(model, data, index))
        figures |= {f"{name}/{split}": value for name, value in scores.items()}
    on_epoch(figures | {"loss/gap": figures["loss/val"] - figures["loss/train"]}, 1)
    estimator_file.save(refitted or model, file)
    return Fitted(model, None, seconds, file, refitted)


def _fit_network(
    data: EmotionData, classifier: EmotionClassifier, folder: Path, on_epoch: OnEpoch, console: Console
) -> Fitted:
    """Trains through the experiment's stages; resumes from `last.ckpt` if it is in `folder`, on every rank alike."""
    settings = classifier.experiment.fit
    plan = cycles(settings.stages)
    epochs = plan[-1].first + plan[-1].epochs
    resumed = folder / "last.ckpt" if (folder / "last.ckpt").exists() else None
    check = ddp.RankConsistencyCheck(_same_on_all_ranks(data, classifier.experiment, resumed), settings.lr_search)
    callbacks = [check, *_callbacks(classifier.experiment, plan, folder, on_epoch, console)]
    trainer = make_trainer(settings, epochs, callbacks, any(c.frozen for c in plan))
    ranks = resolve_ranks(settings)

    start = time.perf_counter()
    with ddp.lost_rank_as_user_error(ranks, console), check.waiting_notice(ranks, console):
        trainer.fit(classifier, datamodule=data, ckpt_path=resumed, weights_only=True)
    seconds = time.perf_counter() - start

    kept = folder / f"{settings.keep}.ckpt"
    if trainer.global_rank:
        return Fitted(classifier, None, seconds, kept)
    checkpoint = torch.load(kept, map_location="cpu", weights_only=True)
    restore(classifier, checkpoint)
    classifier.to(trainer.strategy.root_device).eval()
    return Fitted(classifier, int(checkpoint["epoch"]) + 1, seconds, kept)


def _same_on_all_ranks(data: EmotionData, experiment: Experiment, resumed: Path | None) -> dict[str, str]:
    """Names what all ranks must agree on. Clips are named by content, since a copied corpus has other file dates."""
    clips = [[data.clips[i] for i in data.split.indices(split)] for split in ("train", "val")]
    return {
        "settings": experiment.signature(),
        "clips": digest([[(c.corpus, c.id, c.content, c.emotion) for c in split] for split in clips]),
        "fit.precision": hardware.precision(experiment.fit),
        "last.ckpt of the run": "present" if resumed else "none",
    }


def _callbacks(
    experiment: Experiment, plan: list[Cycle], folder: Path, on_epoch: OnEpoch, console: Console
) -> list[L.Callback]:
    settings = experiment.fit
    schedule = Schedule(plan, experiment.seed, settings.lr_search)
    callbacks: list[L.Callback] = [
        ddp.RestoreSignalHandlers(),
        schedule,
        ReportEpoch(schedule, on_epoch),
        ShowProgress(console, plan[-1].first + plan[-1].epochs),
        *_checkpoints(settings, folder),
    ]
    if settings.ema:
        callbacks.append(EMAWeightAveraging(decay=settings.ema))
    if settings.patience:
        # checked at the end of the training epoch, as the checkpoints are: else it would run before they are written
        callbacks.append(
            Patience(
                settings.monitor,
                patience=settings.patience,
                mode=_mode(settings),
                check_on_train_epoch_end=True,
            )
        )
    return callbacks


def _checkpoints(settings: Fit, folder: Path) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    """Makes two callbacks: `best` keeps the best epoch's weights, `last` the whole state after every epoch."""
    common: dict[str, Any] = {"dirpath": folder, "save_on_train_epoch_end": True, "enable_version_counter": False}
    # Lightning leaves callbacks out of a checkpoint of weights only, and with them the averaged weights
    weights_only = settings.ema is None
    best = ModelCheckpoint(
        filename="best", monitor=settings.monitor, mode=_mode(settings), save_weights_only=weights_only, **common
    )
    return best, ModelCheckpoint(filename="last", **common)


def _mode(settings: Fit) -> Literal["min", "max"]:
    return "min" if settings.monitor.startswith("loss") else "max"


def make_trainer(settings: Fit, epochs: int, callbacks: list[Any], freezes: bool) -> L.Trainer:
    """Makes a Lightning trainer for these settings; `freezes`: some layers are frozen in some epochs.

    Raises: UserError where the machine has fewer GPUs than the settings ask for.
    """
    ranks, gpu = resolve_ranks(settings), hardware.uses_gpu(settings)
    if gpu:
        ddp.check_gpu_count(ranks)
    return L.Trainer(
        max_epochs=epochs,
        accelerator="gpu" if gpu else "cpu",
        **ddp.trainer_arguments(ranks, freezes),
        precision=hardware.precision(settings),  # type: ignore[arg-type]
        gradient_clip_val=settings.clip_grad,
        callbacks=callbacks,
        # else Lightning adds a callback of its own, which writes to ./checkpoints
        enable_checkpointing=any(isinstance(c, ModelCheckpoint) for c in callbacks),
        logger=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1_000_000,
    )
