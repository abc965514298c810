"""Learning-rate search (Smith 2017, as in fastai's lr_find).

The rate grows by the same factor each batch; the result is the rate at the least smoothed loss, divided by ten. The
search reads training clips only and restores the weights afterwards.
"""

import copy
import math
from collections.abc import Sequence

import lightning as L
import torch

from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.training.classifier import EmotionClassifier

LOWEST, HIGHEST, STEPS, SMOOTHING = 1e-7, 10.0, 100, 0.98


def search(trainer: L.Trainer, classifier: EmotionClassifier, rates: Sequence[float]) -> float:
    """Returns the head's learning rate; `rates` gives the proportions of the layer groups. Rank zero decides for all ranks."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    best = _sweep(data, classifier, [rate / rates[-1] for rate in rates]) if trainer.global_rank == 0 else 0.0
    return float(trainer.strategy.broadcast(best))


def _sweep(data: EmotionData, classifier: EmotionClassifier, proportions: Sequence[float]) -> float:
    original = copy.deepcopy(classifier.state_dict())
    optimizer = classifier.configure_optimizers()
    best, best_rate, average = float("inf"), LOWEST, 0.0
    order, size = torch.from_numpy(data.split.train), data.experiment.data.batch_size
    for step in range(STEPS):
        rate = LOWEST * (HIGHEST / LOWEST) ** (step / (STEPS - 1))
        for group in optimizer.param_groups:
            group["lr"] = rate * proportions[group["layer_group"]]
        batch = order[torch.randint(len(order), (size,))]
        loss = _step(data, classifier, batch, optimizer)
        average = SMOOTHING * average + (1 - SMOOTHING) * loss
        smooth = average / (1 - SMOOTHING ** (step + 1))
        if smooth < best:
            best, best_rate = smooth, rate
        if smooth > 4 * best or math.isnan(smooth):
            break
    classifier.load_state_dict(original)
    optimizer.zero_grad()
    return best_rate / 10


def _step(
    data: EmotionData, classifier: EmotionClassifier, index: torch.Tensor, optimizer: torch.optim.Optimizer
) -> float:
    gather = data.gather_waveforms if data.waveforms_in_training else data.gather
    x, valid, targets = classifier.augmented(gather(index, classifier.device))
    with classifier.trainer.precision_plugin.train_step_context():
        loss = classifier.loss(x, valid, targets)
    optimizer.zero_grad()
    loss.backward()
    if classifier.experiment.fit.clip_grad:
        torch.nn.utils.clip_grad_norm_(classifier.parameters(), classifier.experiment.fit.clip_grad)
    optimizer.step()
    return float(loss.detach())
