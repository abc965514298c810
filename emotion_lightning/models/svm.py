"""DeepEmoNet's baseline: features averaged over time, standardised, a support vector machine with an RBF kernel.

A scikit-learn pipeline on (N, C, F, T) features. The machine gives decision values; the framework makes probabilities of
them with one temperature (estimator.py), so the likeliest class is the one that it decides on, as Platt's need not be.
"""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

Positive = Annotated[float, Field(gt=0)]


def mean(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, C, F, T) with NaN behind each clip's end → (N, C·F)."""
    return np.nanmean(features, axis=3).reshape(len(features), -1)


def mean_std(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, C, F, T) with NaN behind each clip's end → (N, 2·C·F)."""
    return np.concatenate([mean(features), np.nanstd(features, axis=3).reshape(len(features), -1)], axis=1)


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    pool: Literal["mean", "mean_std"] = "mean",
    C: Positive = 1.0,
    gamma: Positive | Literal["scale", "auto"] = "auto",
) -> Pipeline:
    """`pool`: what is taken over time; `C` and `gamma` as in scikit-learn's SVC, `auto` is 1 / number of inputs."""
    taken = FunctionTransformer({"mean": mean, "mean_std": mean_std}[pool])
    return make_pipeline(taken, StandardScaler(), SVC(C=C, gamma=gamma, break_ties=True))
