"""Our training through Lightning and a bare loop on the same network, in turns of some steps."""

import time
from collections.abc import Callable
from typing import Any

import lightning as L
import torch
from rich.console import Console
from torch import Tensor
from torch.nn import functional as F

from emotion_lightning.config import loader as settings
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.train import build
from emotion_lightning.training import hardware
from emotion_lightning.training.callbacks import Schedule
from emotion_lightning.training.classifier import EmotionClassifier
from emotion_lightning.training.fit import make_trainer
from emotion_lightning.training.schedule import cycles

DEMO = {"corpora.demo.speakers": 24, "corpora.demo.takes": 1, "corpora.ravdess": "off", "corpora.savee": "off"}


def prepare(name: str, **overrides: Any) -> tuple[EmotionData, EmotionClassifier]:
    """Returns an experiment's data and classifier, on 768 generated clips: the cost of a step does not depend on the audio."""
    assignments = [f"{path}={value}" for path, value in {**DEMO, **overrides}.items()]
    hardware.configure_libraries()
    L.seed_everything(0, verbose=False)
    data, model = build(settings.load(name, assignments), Console(quiet=True))
    assert isinstance(model, EmotionClassifier)
    return data, model


class Turns(L.Callback):
    """Measures our training and `other` in turns of `steps` steps; `ours` and `theirs` are clips per second in each round.

    Ours includes everything that Lightning does between two steps, and loading the batch. The first turn warms up and is
    dropped.
    """

    def __init__(self, steps: int, rounds: int, batch: int, other: Callable[[], None]):
        self.steps, self.rounds, self.batch, self.other = steps, rounds, batch, other
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.done, self.start = 0, 0.0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        self.done += 1
        if self.done % self.steps:
            return
        ours, theirs = _now() - self.start, self._theirs()
        if self.done > self.steps:
            self.ours.append(self.steps * self.batch / ours)
            self.theirs.append(self.steps * self.batch / theirs)
        trainer.should_stop = len(self.ours) == self.rounds
        self.start = _now()

    def _theirs(self) -> float:
        start = _now()
        for _ in range(self.steps):
            self.other()
        return _now() - start


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def in_turns_with_bare(data: EmotionData, model: EmotionClassifier, steps: int, rounds: int) -> Turns:
    """Measures our training as in `make train`, and a bare loop over the same inputs, already normalised and in memory."""
    fit = model.experiment.fit
    turns = Turns(steps, rounds, model.experiment.data.batch_size, bare_loop(data, model))
    schedule = Schedule(cycles(fit.stages), 0, searched=False)
    trainer = make_trainer(
        fit, schedule.cycles[-1].first + schedule.cycles[-1].epochs, [schedule, turns], freezes=False
    )
    trainer.limit_val_batches = 0
    trainer.fit(model, datamodule=data)
    return turns


def bare_loop(
    data: EmotionData, model: EmotionClassifier, precision: str | None = None, compiled: str | None = None
) -> Callable[[], None]:
    """Returns one step of the fastest plain loop: the same network with other weights, channels last, autocast, fused AdamW.

    `compiled` is a mode of torch.compile.
    """
    from emotion_lightning.config import parts

    experiment = model.experiment
    device = torch.device("cuda" if hardware.uses_gpu(experiment.fit) else "cpu")
    half = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(
        precision or hardware.precision(experiment.fit)
    )
    build_network = parts.entry("models", experiment.model.name)
    network = build_network(tuple(model.hparams["shape"]), len(model.classes), **experiment.model.args)
    network = network.to(device).to(memory_format=torch.channels_last).train()
    if compiled:
        network.compile(mode=compiled)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    x, valid, labels = (tensor.to(device) for tensor in _ready(data, model))

    def step() -> None:
        chosen = torch.randint(len(x), (experiment.data.batch_size,), device=device)
        batch = x[chosen].contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
            logits = network(batch, valid[chosen])
        loss = F.cross_entropy(logits.float(), labels[chosen]) + network.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def clips_per_second(step: Callable[[], None], steps: int, batch: int) -> float:
    """Runs `steps` steps of `batch` clips and returns clips per second."""
    start = _now()
    for _ in range(steps):
        step()
    return steps * batch / (_now() - start)


def _ready(data: EmotionData, model: EmotionClassifier) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the network's inputs for all training clips: normalised (N, C, F, T), valid share (N,), labels (N,)."""
    batches = [data.gather(index, torch.device("cpu")) for index in torch.from_numpy(data.split.train).split(64)]
    with torch.no_grad():
        x = torch.cat([model._normalised(model._sized(model.feature.present(b.stored), 0.5)) for b in batches])
    return x, torch.cat([b.valid for b in batches]), torch.cat([b.labels for b in batches])
