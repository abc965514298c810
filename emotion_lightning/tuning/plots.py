"""Plots of a search, in the colours of the other plots."""

from collections.abc import Mapping

from matplotlib.ticker import MaxNLocator
from optuna.study import Study
from optuna.trial import TrialState

from emotion_lightning.figure import Figure
from emotion_lightning.training.plots import BLUE, GREY, ORANGE


def history(study: Study, title: str) -> Figure:
    """Draws the UAR of each trial by its number, the best so far, and where trials were pruned."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    numbers, values = [trial.number for trial in complete], [float(trial.value or 0.0) for trial in complete]
    best = [max(values[: end + 1]) for end in range(len(values))]
    axes.plot(numbers, values, "o", color=BLUE, label="trial")
    axes.step(numbers, best, where="post", color=ORANGE, label="best so far")
    pruned = study.get_trials(deepcopy=False, states=(TrialState.PRUNED,))
    if pruned:
        last = [trial.intermediate_values[max(trial.intermediate_values)] for trial in pruned]
        axes.plot([trial.number for trial in pruned], last, "x", color=GREY, label="pruned, last value")
    axes.set(xlabel="trial", ylabel="UAR, mean over inner folds", title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def importance(shares: Mapping[str, float], title: str) -> Figure:
    """Draws the share of the variance of the UAR that each setting explains, the most important on top."""
    figure = Figure(figsize=(7, 1.2 + 0.4 * len(shares)), layout="constrained")
    axes = figure.subplots()
    paths = sorted(shares, key=shares.__getitem__)
    axes.barh(paths, [shares[path] for path in paths], color=BLUE)
    axes.set(xlabel="share of the variance of the UAR", title=title, xlim=(0, 1))
    return figure
