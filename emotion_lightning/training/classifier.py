"""EmotionClassifier wraps any network: features → augmentation → normalisation → network, loss, optimiser, epoch scores.

Everything but the network runs without gradients, in full precision, batched on the device.
"""

from collections.abc import Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from emotion_lightning.augment import STAGES, Augmentation
from emotion_lightning.config import parts
from emotion_lightning.config.schema import Experiment
from emotion_lightning.data.datamodule import EmotionData, FeatureBatch, WaveformBatch
from emotion_lightning.errors import UserError
from emotion_lightning.features import Feature
from emotion_lightning.models import Network
from emotion_lightning.training import hardware, metrics
from emotion_lightning.weights import Origin

NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


class EmotionClassifier(L.LightningModule):
    """Logits (B, classes) from a batch of stored features or waveforms."""

    trains_in_steps = True
    mean: Tensor
    std: Tensor
    class_weights: Tensor

    def __init__(
        self,
        experiment: Experiment,
        feature: Feature,
        network: Network,
        shape: tuple[int, int, int],
        classes: Sequence[str],
    ):
        """Takes the shape (C, F, T) of the presented features, which `network` was built for.

        `learn_from` or a checkpoint sets the normaliser and the class weights.

        Raises: UserError where a stage resizes a feature that is no picture, and for `fit.refit`.
        """
        super().__init__()
        if experiment.fit.refit:
            raise UserError(
                f"fit.refit: {experiment.model.name} trains in steps, and only scikit-learn models are refitted"
            )
        self.save_hyperparameters(
            {"experiment": experiment.model_dump(mode="json"), "shape": list(shape), "classes": list(classes)}
        )
        self.experiment, self.classes, self.feature = experiment, tuple(classes), feature
        self.network = network
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # faster on CPUs and GPUs, in either precision
        augmentations = [parts.entry("augment", name)(**args) for name, args in experiment.augment.items()]
        self.augment = nn.ModuleDict(
            {stage: nn.ModuleList([a for a in augmentations if a.stage == stage]) for stage in STAGES}
        )
        self.size: int | None = None  # height in pixels that pictures are resized to; None: as stored
        if experiment.fit.crops > 1 and not feature.is_picture:
            raise UserError(f"fit.crops: only pictures are cropped, and {experiment.features.name} is not one")
        for name, stage in experiment.fit.stages.items():
            if stage.size and not feature.is_picture:
                raise UserError(
                    f"fit.stages.{name}.size: only pictures can be resized, and {experiment.features.name} is not one"
                )
        normaliser = (shape[0], 1 if feature.is_picture else shape[1], 1)
        self.register_buffer("mean", torch.zeros(normaliser))
        self.register_buffer("std", torch.ones(normaliser))
        self.register_buffer("class_weights", torch.ones(len(classes)))
        self._losses: list[Tensor] = []
        self._validated: list[list[tuple[Tensor, Tensor]]] = [
            [],
            [],
        ]  # (labels, probabilities) of val and train batches

    @property
    def pretrained(self) -> tuple[Origin, ...]:
        """The outside weights that it started from or is computed with."""
        return tuple(dict.fromkeys((*self.feature.pretrained, *self.network.pretrained)))

    @property
    def precision_name(self) -> str:
        """Lightning's name of the precision it trains in on this machine."""
        return hardware.precision(self.experiment.fit)

    @property
    def device_name(self) -> str:
        """The GPU's name, or "cpu"."""
        return torch.cuda.get_device_name() if hardware.uses_gpu(self.experiment.fit) else "cpu"

    def learn_from(self, data: EmotionData) -> None:
        """Sets the normaliser and the class weights from the training split alone."""
        with data.access_log.purpose("normaliser"):
            mean, std = data.statistics()
        self.mean.copy_(mean.expand_as(self.mean))
        self.std.copy_(std.expand_as(self.std))
        if self.experiment.fit.class_weights == "balanced":
            counts = torch.bincount(data.labels[torch.from_numpy(data.split.train)], minlength=len(self.classes))
            self.class_weights.copy_(counts.sum() / (len(self.classes) * counts.clamp(min=1)))
        data.waveforms_in_training = len(self._stage("waveform")) > 0
        if data.waveforms_in_training and self.experiment.data.normalise_speakers:
            raise UserError(
                "data.normalise_speakers: an augmentation of waveforms computes the features anew in each step"
            )

    def _stage(self, name: str) -> Sequence[Augmentation]:
        return self.augment[name]  # type: ignore[return-value]

    def forward(self, stored: Tensor, valid: Tensor, place: float = 0.5) -> Tensor:
        """Returns logits (B, classes) for stored features (B, C, F, T), as the cache holds them; nothing is random.

        `place` is that of the square crop of a wide picture: 0 is its start, 1 its end.
        """
        return self.network(self.inputs(stored, place), valid).float()

    def inputs(self, stored: Tensor, place: float = 0.5) -> Tensor:
        """Returns the network's input (B, C, F, T) for stored features: presented, resized, normalised, in full precision."""
        with torch.no_grad(), torch.autocast(stored.device.type, enabled=False):
            return self._normalised(self._sized(self.feature.present(stored), place))

    def probabilities(self, stored: Tensor, valid: Tensor) -> Tensor:
        """Returns probabilities (B, classes) for the same input, the mean over `fit.crops` crops of a wide picture."""
        crops = self.experiment.fit.crops
        if crops == 1 or not self.feature.is_picture:
            return self(stored, valid).softmax(1)
        places = [number / (crops - 1) for number in range(crops)]
        return torch.stack([self(stored, valid, place).softmax(1) for place in places]).mean(0)

    def _sized(self, x: Tensor, place: float | None) -> Tensor:
        """Resizes to height `size`; a picture wider than high is then cropped to a square, at `place`, or at random for None.

        At random, each picture of the batch has its own position.
        """
        if not self.feature.is_picture:
            return x
        height, width = x.shape[-2:]
        if self.size and self.size != height:
            shape = (self.size, round(width * self.size / height))
            x = F.interpolate(x, shape, mode="bilinear", antialias=True, align_corners=False)
        height, width = x.shape[-2:]
        if width <= height:
            return x
        spare = width - height
        if place is not None:
            start = int(place * spare)
            return x[..., start : start + height]
        starts = torch.randint(spare + 1, (len(x), 1, 1, 1), device=x.device)
        columns = starts + torch.arange(height, device=x.device)
        return x.gather(3, columns.expand(*x.shape[:3], height))

    def _normalised(self, x: Tensor) -> Tensor:
        return ((x - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def augmented(self, batch: FeatureBatch | WaveformBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Returns a training batch as the network gets it: x (B, C, F, T), valid share (B,), soft targets (B, classes)."""
        x, extent = (
            (batch.waveforms, batch.lengths) if isinstance(batch, WaveformBatch) else (batch.stored, batch.valid)
        )
        targets = F.one_hot(batch.labels, len(self.classes)).float()
        with torch.autocast(x.device.type, enabled=False):
            if isinstance(batch, WaveformBatch):
                for augmentation in self._stage("waveform"):
                    x, extent, targets = augmentation(x, extent, targets)
                x, extent = self.feature(x, extent)
            x = self._sized(self.feature.present(x), place=None)
            for augmentation in self._stage("spectrogram"):
                x, extent, targets = augmentation(x, extent, targets)
            x = self._normalised(x)
            for augmentation in self._stage("batch"):
                x, extent, targets = augmentation(x, extent, targets)
        return x, extent, targets

    def on_train_epoch_start(self) -> None:
        self._losses = []

    def training_step(self, batch: FeatureBatch | WaveformBatch, batch_idx: int) -> Tensor:
        """Computes the training loss of an augmented batch."""
        loss = self.loss(*self.augmented(batch))
        self._losses.append(loss.detach())
        return loss

    def loss(self, x: Tensor, valid: Tensor, targets: Tensor) -> Tensor:
        """Returns cross-entropy plus the network's own penalty, for x (B, C, F, T), shares (B,) and targets (B, classes)."""
        logits = self.network(x, valid).float()
        smoothing = self.experiment.fit.label_smoothing
        loss = F.cross_entropy(logits, targets, weight=self.class_weights, label_smoothing=smoothing)
        return loss + self.network.penalty()

    def validation_step(self, batch: FeatureBatch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._validated[dataloader_idx].append((batch.labels, self.probabilities(batch.stored, batch.valid)))

    def on_validation_epoch_end(self) -> None:
        """Logs the scores of the validation split and of clean training clips, the loss gap, and the mean training loss.

        The mean is taken here: Lightning's own mean over steps costs each step a millisecond.
        """
        step_losses = torch.stack(self._losses)
        # the mean over all ranks, each of which has a part of every batch
        optimised = self.trainer.strategy.reduce(step_losses.mean(), reduce_op="mean")
        if not torch.isfinite(optimised):
            raise UserError(self._divergence(step_losses))
        self.log("loss/optimised", optimised)
        losses = {}
        for split, batches in zip(("val", "train"), self._validated, strict=True):
            labels, probabilities = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
            for name, value in metrics.scores(labels.cpu(), probabilities.cpu()).items():
                self.log(f"{name}/{split}", value)
                losses[f"{name}/{split}"] = value
            batches.clear()
        self.log("loss/gap", losses["loss/val"] - losses["loss/train"])

    def _divergence(self, step_losses: Tensor) -> str:
        """Describes a training loss that is NaN or infinite, from the losses (steps,) of the epoch on this rank."""
        finite = torch.isfinite(step_losses).tolist()
        step = f", step {finite.index(False) + 1} of {len(finite)}" if not all(finite) else ""
        rate = self.optimizers().param_groups[-1]["lr"]  # type: ignore[union-attr]
        return (
            f"the training loss is not finite (NaN or infinite) in epoch {self.trainer.current_epoch + 1}{step}, at the "
            f'learning rate {rate:.2g} in {self.precision_name}; try a lower lr of the stage, SET="fit.clip_grad=1", or '
            'SET="fit.precision=32"'
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["picture_size"] = self.size  # not a buffer: averaged weights would average it too

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.size = checkpoint["picture_size"]

    def freeze_body(self, frozen: bool) -> None:
        """Freezes all layer groups but the head, or unfreezes them; norms always learn."""
        norms = {id(p) for m in self.network.modules() if isinstance(m, NORMS) for p in m.parameters()}
        for group in self.network.layer_groups()[:-1]:
            for parameter in group:
                parameter.requires_grad_(not frozen or id(parameter) in norms)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Makes two parameter groups of each layer group, with and without weight decay; Schedule sets the rates.

        A fused step passes over the weights once instead of ten times: 10 ms instead of 190 for 35 million weights on a
        CPU. Lightning refuses to clip gradients in mixed precision before a fused step.
        """
        fit = self.experiment.fit
        groups = []
        for number, group in enumerate(self.network.layer_groups()):
            for decay, parameters in (
                (fit.weight_decay, [p for p in group if p.ndim > 1]),
                (0.0, [p for p in group if p.ndim < 2]),
            ):
                if parameters:  # a parameter of one axis is a bias or a norm's scale
                    groups.append({"params": parameters, "weight_decay": decay, "layer_group": number})
        fused = fit.clip_grad is None
        if fit.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=1.0, momentum=0.9, fused=fused)
        return torch.optim.AdamW(groups, lr=1.0, betas=(0.9, fit.beta2), eps=fit.eps, fused=fused)
