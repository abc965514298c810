"""DeepEmoNet's baseline: a support vector machine (SVM) with an RBF kernel on standardised means of the features over time.

A scikit-learn pipeline on (N, C, F, T) features. The SVM returns decision values. The framework turns them into probabilities
with one temperature (training/estimator.py), so that the class with the highest probability is always the class that the SVM
chooses; Platt's probabilities do not guarantee this.
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
    """Averages (N, C, F, T), with NaN after the end of each clip, over time to (N, C·F)."""
    return np.nanmean(features, axis=3).reshape(len(features), -1)


def mean_std(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Returns mean and standard deviation over time, (N, 2·C·F)."""
    return np.concatenate([mean(features), np.nanstd(features, axis=3).reshape(len(features), -1)], axis=1)


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    pool: Literal["mean", "mean_std"] = "mean",
    C: Positive = 1.0,
    gamma: Positive | Literal["scale", "auto"] = "auto",
) -> Pipeline:
    """`pool` names the statistics over time. `C` and `gamma` are those of scikit-learn's SVC; `auto` is 1 / inputs."""
    pooling = FunctionTransformer({"mean": mean, "mean_std": mean_std}[pool])
    return make_pipeline(pooling, StandardScaler(), SVC(C=C, gamma=gamma, break_ties=True))
