"""A support vector machine on one channel of the features, with channel and C chosen on speakers of the training split.

A channel is a layer of a speech encoder. The choice is scikit-learn's grid search: each value is scored by the unweighted
average recall in folds of whole speakers inside the training split. So validation and test speakers choose nothing.
"""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from emotion_lightning.config.ranges import NotEmpty
from emotion_lightning.models.svm import mean

TRUSTED = [
    "sklearn.metrics._classification.balanced_accuracy_score",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.model_selection._split.GroupKFold",
]


class Channel(TransformerMixin, BaseEstimator):
    """Selects one channel of (N, C, F, T) and averages it over time to (N, F)."""

    def __init__(self, channel: int = 0):
        self.channel = channel

    def fit(self, x: NDArray[np.float32], y: object = None) -> "Channel":
        """Learns nothing."""
        return self

    def transform(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Returns (N, F)."""
        return mean(x[:, self.channel : self.channel + 1])

    def __sklearn_is_fitted__(self) -> bool:
        return True


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    C: Annotated[tuple[PositiveFloat, ...], NotEmpty] = (1.0, 10.0),
    kernel: Literal["rbf", "linear"] = "rbf",
    folds: Annotated[int, Field(ge=2)] = 4,
) -> GridSearchCV:
    """`C` lists the values to choose from, `kernel` is scikit-learn's, `folds` is the number of folds of training speakers."""
    machine = make_pipeline(Channel(), StandardScaler(), SVC(kernel=kernel, break_ties=True))
    grid = {"channel__channel": list(range(shape[0])), "svc__C": list(C)}
    return GridSearchCV(machine, grid, scoring="balanced_accuracy", cv=GroupKFold(folds))
