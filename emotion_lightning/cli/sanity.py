"""`make sanity`: trains with the emotions permuted within each speaker, and says whether the score is that of chance."""

import math

import torch
from rich.console import Console

from emotion_lightning.config.schema import Experiment
from emotion_lightning.train import train
from emotion_lightning.training import metrics
from emotion_lightning.training.evaluation import RunResult

ERRORS = 3.0  # standard errors around chance


def sanity(experiment: Experiment, console: Console) -> bool:
    """Trains, tests and prints one line; returns True if the test UAR is within three standard errors of chance."""
    result = train(experiment, console)
    if result is None:  # another rank
        return True
    uar, chance, error = result.figures["test/uar"], *chance_and_error(result)
    is_chance = abs(uar - chance) <= ERRORS * error
    console.print(
        f"{experiment.title_prefix}{experiment.name} · {experiment.protocol.name}: test UAR {uar:.3f}, chance {chance:.3f} "
        f"± {ERRORS * error:.3f}: "
        + (
            "no label reaches the model by another way"
            if is_chance
            else "labels reach the model by another way than sound"
        ),
        soft_wrap=True,
    )
    return is_chance


def chance_and_error(result: RunResult) -> tuple[float, float]:
    """Returns the UAR of guessing by the model's own frequencies, and its standard error over the labels of the test clips."""
    counts = metrics.confusion(result.labels, result.probabilities).sum(1)  # (classes,) test clips
    tested = counts[counts > 0].double()
    shares = torch.bincount(result.probabilities.argmax(1), minlength=len(counts)).double() / counts.sum()
    shares = shares[counts > 0]
    variance = (shares * (1 - shares) / tested).sum() / len(tested) ** 2
    return float(shares.mean()), math.sqrt(float(variance))
