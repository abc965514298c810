"""Figures over all arms of a study.

Arms and splits differ in mark and line as well as in colour, so that the figures also work in print and for colour-blind
readers. The colours are those of Okabe and Ito.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from emotion_lightning.figure import Figure
from emotion_lightning.report.collect import Group, Results
from emotion_lightning.report.summary import Row
from emotion_lightning.training import significance
from emotion_lightning.training.plots import BLUE, GREY, ORANGE

MARKS = "osD^vP*X"
HIGHEST_LOSS = 4.0  # nats; twice what guessing among eight classes costs
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#000000")


def overview(rows: Sequence[Row], protocols: Sequence[str], metric: str = "accuracy") -> Figure:
    """Draws each arm's test score with its interval, one mark for each protocol.

    Published figures are empty diamonds. Their star refers to the table: they are seldom comparable.
    """
    arms = list(dict.fromkeys(row.group.arm.name for row in rows))
    labels = {row.group.arm.name: row.group.arm.label for row in rows}
    figure = Figure(figsize=(6.2, 1.3 + (0.2 + 0.13 * len(protocols)) * len(arms)), layout="constrained")
    axes = figure.subplots()
    published: dict[str, float] = {}
    for number, protocol in enumerate(protocols):
        colour, shift = COLOURS[number % len(COLOURS)], (number - (len(protocols) - 1) / 2) * 0.26
        named = False
        for row in rows:
            if row.group.protocol != protocol:
                continue
            for claim in row.claims:
                if claim.metric == metric:
                    published[row.group.arm.name] = claim.value
            if not row.figures:
                continue
            score, y = row.figures[metric], arms.index(row.group.arm.name) + shift
            if score.interval:
                axes.plot(
                    [100 * v for v in score.interval], [y, y], color=colour, linewidth=1.8, solid_capstyle="butt"
                )
            label = None if named else row.group.shown
            axes.plot(100 * score.mean, y, MARKS[number % len(MARKS)], color=colour, markersize=7, label=label)
            named = True
    for number, (arm, value) in enumerate(published.items()):
        mark = axes.plot(100 * value, arms.index(arm), "D", color="black", label=None if number else "published*")
        mark[0].set(markerfacecolor="white", markersize=8)
    axes.set_yticks(range(len(arms)), [labels[arm] for arm in arms])
    axes.set(ylim=(len(arms) - 0.5, -0.5), xlabel=f"test {metric} in %, 95 % interval over speakers", xlim=(0, 100))
    axes.grid(axis="x", alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside upper center", ncols=min(3, len(protocols) + 1), frameon=False)
    return figure


def loss_gaps(results: Results) -> Figure | None:
    """Draws the loss of clean training clips and of the validation split by epoch, a panel for each arm and protocol.

    Each run is a faint line. A bold line is their mean, up to the end of the shortest run. None if no arm trains in epochs.
    """
    by_protocol = [[g for g in results.under(p) if _has_epochs(g)] for p in results.plan.protocols]
    arms = [a for a in results.plan.arms if any(g.arm == a for groups in by_protocol for g in groups)]
    if not arms:
        return None
    columns = min(4, len(arms))
    shown = [groups for groups in by_protocol if groups]
    lines_of_panels = math.ceil(len(arms) / columns)
    figure = Figure(figsize=(2.6 * columns + 0.6, 2.2 * lines_of_panels * len(shown) + 0.6), layout="constrained")
    grid = figure.subplots(lines_of_panels * len(shown), columns, sharey=True, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for block, groups in enumerate(shown):
        for group in groups:
            line, column = divmod(arms.index(group.arm), columns)
            _loss_panel(grid[block * lines_of_panels + line][column], group)
    grid[0][0].set_ylim(0, min(grid[0][0].get_ylim()[1], HIGHEST_LOSS))  # shared by all panels
    handles, names = next(axes for axes in grid.flat if axes.lines).get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=2, frameon=False)
    figure.supylabel("cross-entropy (nats)", fontsize=10)
    return figure


def _has_epochs(group: Group) -> bool:
    return any(len(finished.curves["loss/val"]) > 1 for finished in group.finished)


def _loss_panel(axes: Axes, group: Group) -> None:
    axes.set_axis_on()
    means = []
    for split, colour, style, label in (
        ("train", BLUE, "-", "training clips, clean"),
        ("val", ORANGE, "--", "validation clips"),
    ):
        runs = [sorted(finished.curves[f"loss/{split}"]) for finished in group.finished]
        for run in runs:
            epochs = np.arange(len(run)) + 1  # by position, since older runs count their steps from 0
            axes.plot(epochs, [v for _, v in run], style, color=colour, alpha=0.25, linewidth=0.8)
        shortest = min(len(run) for run in runs)
        mean = np.mean([[v for _, v in run[:shortest]] for run in runs], axis=0)
        axes.plot(np.arange(shortest) + 1, mean, style, color=colour, linewidth=2, label=label)
        means.append(mean)
    axes.fill_between(np.arange(len(means[0])) + 1, *means, color=GREY, alpha=0.15, linewidth=0)
    axes.set_title(f"{group.arm.label}\n{group.shown}", fontsize=9)
    axes.set(xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.grid(alpha=0.3)


def confusions(results: Results) -> Figure | None:
    """Draws the confusion matrix of each arm and protocol, over all runs, in shares of the true class."""
    groups = [g for p in results.plan.protocols for g in results.under(p) if g.finished]
    if not groups:
        return None
    columns = min(3, len(groups))
    lines = math.ceil(len(groups) / columns)
    figure = Figure(figsize=(3.4 * columns, 3.3 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes in grid.flat[len(groups) :]:
        axes.set_axis_off()
    for axes, group in zip(grid.flat, groups, strict=False):
        counts = significance.by_speaker(group.tested()).sum(0)
        shares = counts / counts.sum(1, keepdims=True).clip(min=1)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), share in np.ndenumerate(shares):
            if share >= 0.005:
                colour = "white" if share > 0.55 else "black"
                axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=7)
        axes.set_title(f"{group.arm.label} · {group.shown}", fontsize=9)
        axes.set_xticks(
            range(len(counts)), group.classes, rotation=60, ha="right", rotation_mode="anchor", fontsize=7
        )
        axes.set_yticks(range(len(counts)), group.classes, fontsize=7)
    figure.supxlabel("predicted (in % of the true class)", fontsize=9)
    figure.supylabel("true", fontsize=9)
    return figure
