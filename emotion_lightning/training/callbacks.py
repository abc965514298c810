"""Lightning callbacks: the schedule of rates, freezing and picture sizes; the report of each epoch; progress."""

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from emotion_lightning.data.datamodule import FeatureBatch, WaveformBatch
from emotion_lightning.training.classifier import EmotionClassifier
from emotion_lightning.training.lr_finder import search
from emotion_lightning.training.schedule import Cycle, group_rates, rate_and_momentum


class Schedule(L.Callback):
    """Sets learning rates, freezing and picture size by the cycles, and seeds each epoch.

    Each epoch has a seed of its own, so a resumed run draws the same random numbers as an uninterrupted one.
    """

    def __init__(self, cycles: Sequence[Cycle], seed: int, searched: bool):
        self.cycles, self.seed, self.searched = cycles, seed, searched
        self.found: dict[int, float] = {}  # first epoch of a cycle → the learning rate that the search found
        self.rate = 0.0  # of the head, at the last step

    def cycle(self, epoch: int) -> Cycle:
        return next(c for c in self.cycles if c.first <= epoch < c.first + c.epochs)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        classifier, cycle = cast(EmotionClassifier, pl_module), self.cycle(trainer.current_epoch)
        classifier.size = cycle.size
        classifier.freeze_body(cycle.frozen)
        if self.searched and cycle.first not in self.found:
            self.found[cycle.first] = search(
                trainer, classifier, group_rates(cycle, len(classifier.network.layer_groups()))
            )
        torch.manual_seed((self.seed * 100_003 + trainer.current_epoch) * 1009 + trainer.global_rank)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        cycle = self.cycle(trainer.current_epoch)
        position = trainer.current_epoch - cycle.first + batch_idx / int(trainer.num_training_batches)
        factor, momentum = rate_and_momentum(cycle, position / cycle.epochs)
        factor *= self.found.get(cycle.first, cycle.lr) / cycle.lr
        rates = group_rates(cycle, len(cast(EmotionClassifier, pl_module).network.layer_groups()))
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = rates[group["layer_group"]] * factor
            if "betas" in group:
                group["betas"] = (momentum, group["betas"][1])
            else:
                group["momentum"] = momentum
        self.rate = rates[-1] * factor

    def state_dict(self) -> dict[str, Any]:
        return {"found": self.found}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.found = state_dict["found"]


class Patience(EarlyStopping):
    """Early stopping that a checkpoint remembers: Lightning's own would train on after a resume."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = self.wait_count >= self.patience


class ReportEpoch(L.Callback):
    """Passes each epoch's figures to `on_epoch`: everything logged, learning rate, picture size, clips per second."""

    def __init__(self, schedule: Schedule, on_epoch: Callable[[dict[str, float], int], None]):
        self.schedule, self.on_epoch = schedule, on_epoch
        self.clips, self.seconds = 0, 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.clips, self.seconds, self._start = 0, 0.0, time.perf_counter()

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: FeatureBatch | WaveformBatch,
        batch_idx: int,
    ) -> None:
        self.clips += len(batch.labels) * trainer.world_size

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seconds = time.perf_counter() - self._start  # of training, without validation

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.global_rank == 0:
            figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
            figures |= {"lr": self.schedule.rate, "clips_per_second": self.clips / max(self.seconds, 1e-9)}
            if size := cast(EmotionClassifier, pl_module).size:
                figures["picture_size"] = size
            self.on_epoch(figures, trainer.current_epoch + 1)


class ShowProgress(L.Callback):
    """Shows a bar over all steps on a terminal; elsewhere prints a line at most every 30 s."""

    def __init__(self, console: Console, epochs: int):
        self.console, self.epochs, self.printed = console, epochs, time.monotonic()
        columns = ("{task.description}", BarColumn(), TextColumn("{task.fields[figures]}"), TimeRemainingColumn())
        self.bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        steps = int(trainer.num_training_batches)
        self.task = self.bar.add_task(
            "training", total=self.epochs * steps, completed=trainer.current_epoch * steps, figures=""
        )
        self.bar.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.bar.update(self.task, advance=1, description=f"epoch {trainer.current_epoch + 1}/{self.epochs}")

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        scores = {name: float(value) for name, value in trainer.callback_metrics.items()}
        figures = (
            f"loss {scores['loss/train']:.2f} train, {scores['loss/val']:.2f} val · UAR {scores['uar/val']:.3f} val"
        )
        self.bar.update(self.task, figures=figures)
        if not self.console.is_terminal and time.monotonic() - self.printed > 30:
            self.console.print(f"epoch {trainer.current_epoch + 1}/{self.epochs}: {figures}")
            self.printed = time.monotonic()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.bar.stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.bar.stop()  # `teardown` is not called then, and rich allows one bar at a time
