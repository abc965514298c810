"""Logistic regression on one channel of the features, with channel and C chosen on speakers of the training split.

The search is that of `models/svm_search.py`. Emotions count equally, however many clips each has.
"""

from typing import Annotated

from pydantic import Field, PositiveFloat
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emotion_lightning.config.ranges import NotEmpty
from emotion_lightning.models.svm_search import TRUSTED, Channel

__all__ = ["TRUSTED", "build"]


def build(
    shape: tuple[int, int, int],
    classes: int,
    *,
    C: Annotated[tuple[PositiveFloat, ...], NotEmpty] = (0.001, 0.01, 0.1, 1.0),
    folds: Annotated[int, Field(ge=2)] = 4,
) -> GridSearchCV:
    """`C` lists the values to choose from, `folds` is the number of folds of training speakers."""
    regression = LogisticRegression(class_weight="balanced", max_iter=2000)
    machine = make_pipeline(Channel(), StandardScaler(), regression)
    grid = {"channel__channel": list(range(shape[0])), "logisticregression__C": list(C)}
    return GridSearchCV(machine, grid, scoring="balanced_accuracy", cv=GroupKFold(folds))
