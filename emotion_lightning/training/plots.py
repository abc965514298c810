"""Plots of one run, in the colours of Okabe and Ito, which the colour-blind can distinguish; print shows lines and marks."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from emotion_lightning.figure import Figure
from emotion_lightning.training.calibration import Answered

BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#666666"


def loss_gap(history: Mapping[str, Sequence[tuple[int, float]]], title: str) -> Figure:
    """Draws the loss of clean training clips and of the validation split by epoch, with the gap filled; UAR and F1 below.

    `history`: (epoch from 1, value) pairs by metric name, as MLflow keeps them.
    """
    figure = Figure(figsize=(7, 8), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=[3, 2, 2])
    for axes, metric in ((top, "loss"), (middle, "uar"), (bottom, "f1")):
        lines = []
        for split, colour, style, label in (
            ("train", BLUE, "-", "training clips, clean"),
            ("val", ORANGE, "--", "validation clips"),
        ):
            points = sorted(history[f"{metric}/{split}"])
            epochs, values = zip(*points, strict=True)
            axes.plot(epochs, values, style, color=colour, marker="." if len(epochs) < 40 else "", label=label)
            lines.append(values)
        if metric == "loss":
            axes.fill_between(epochs, *lines, color=GREY, alpha=0.15, linewidth=0, label="gap")
        axes.grid(alpha=0.3)
    top.set(ylabel="cross-entropy (nats)", title=title, ylim=(0, None))
    top.legend(frameon=False)
    middle.set(ylabel="UAR", ylim=(0, 1))
    bottom.set(ylabel="macro F1", xlabel="epoch", ylim=(0, 1))
    bottom.xaxis.get_major_locator().set_params(integer=True)
    return figure


def calibration(
    labels: Tensor, before: Tensor, after: Tensor, coverage: Answered, title: str, bins: int = 10
) -> Figure:
    """Draws accuracy by confidence, before and after the temperature, and accuracy by the share of answered clips.

    `labels` (N,), `before` and `after` (N, classes) are of the test split.
    """
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0, 1], [0, 1], ":", color=GREY, label="calibrated")
    for probabilities, colour, style, label in (
        (before, ORANGE, "--s", "as the model gives them"),
        (after, BLUE, "-o", "after the temperature"),
    ):
        confidence, predicted = probabilities.max(1)
        number = (confidence * bins).long().clamp(max=bins - 1)
        filled = [i for i in range(bins) if (number == i).any()]
        means = [[float(x[number == i].float().mean()) for i in filled] for x in (confidence, predicted == labels)]
        left.plot(*means, style, color=colour, markersize=4, label=label)
    left.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title=title)
    left.legend(frameon=False)
    right.plot(coverage.share, coverage.accuracy, color=BLUE)
    right.set(xlabel="share of clips that are answered", ylabel="accuracy of these", xlim=(0, 1), ylim=(0, 1.02))
    right.set_title("least confident answers withheld")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    return figure


def write_feature(x: Tensor, file: Path) -> None:
    """Writes one channel (F, T) of a feature as a PNG file, the lowest band at the bottom; a value is a square of pixels.

    An image without axes, since drawing these would take a small run longer than its training.
    """
    from matplotlib.image import imsave

    bands, frames = x.shape
    height, width = (max(1, 240 // bands), max(1, 240 // frames))
    imsave(file, x.repeat_interleave(height, 0).repeat_interleave(width, 1).numpy(), cmap="magma", origin="lower")


def confusion(counts: Tensor, classes: Sequence[str], title: str) -> Figure:
    """Draws (classes, classes) counts, true class by row: shaded by the share of the row, each cell with its count."""
    shares = counts / counts.sum(1, keepdim=True).clamp(min=1)
    figure = Figure(figsize=(6.4, 5.8), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row in range(len(classes)):
        for column in range(len(classes)):
            if count := int(counts[row, column]):
                dark = float(shares[row, column]) > 0.55
                axes.text(column, row, str(count), ha="center", va="center", color="white" if dark else "black")
    axes.set(xlabel="predicted", ylabel="true", title=title, yticks=range(len(classes)), yticklabels=classes)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right", rotation_mode="anchor")
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    return figure
