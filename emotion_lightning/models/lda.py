"""Linear discriminant analysis (LDA) of each layer of a speech encoder; the mean of their log probabilities decides.

The covariance within the emotions is shrunk towards a multiple of the identity (Friedman 1989), since there are about as many
values as clips. Emotions count equally, however many clips each has. For features of one frame, such as the statistics of
`features/encoder.py`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from emotion_lightning.config.ranges import Share
from emotion_lightning.errors import UserError

Features = NDArray[np.float32]


class LayerLDA(ClassifierMixin, BaseEstimator):
    """One LDA for each layer, on features (N, layers · views, F, T) that are ordered layer by layer.

    The views of a clip, such as several speeds, are rows of their own in training. Their log probabilities are averaged, as
    those of the layers are.
    """

    def __init__(self, views: int = 1, shrinkage: float = 0.3):
        self.views, self.shrinkage = views, shrinkage

    def fit(self, x: Features, y: NDArray[Any]) -> "LayerLDA":
        """Fits on features (N, C, F, T), with NaN after the end of each clip, and labels (N,)."""
        self.classes_ = np.unique(y)
        self.layers_ = [
            self._lda().fit(layer.reshape(-1, layer.shape[2]), np.repeat(y, self.views))
            for layer in self._by_layer(x)
        ]
        return self

    def decision_function(self, x: Features) -> NDArray[np.float64]:
        """Returns the mean log probabilities (N, classes)."""
        total = np.zeros((len(x), len(self.classes_)))
        for lda, layer in zip(self.layers_, self._by_layer(x), strict=True):
            logs = np.log(lda.predict_proba(layer.reshape(-1, layer.shape[2])).clip(1e-12))
            total += logs.reshape(len(x), self.views, -1).mean(1)
        return total / len(self.layers_)

    def predict(self, x: Features) -> NDArray[Any]:
        """Returns the most probable class (N,)."""
        return self.classes_[self.decision_function(x).argmax(1)]

    def _by_layer(self, x: Features) -> list[Features]:
        """Averages (N, layers · views, F, T) over time, and splits it into one array (N, views, F) for each layer."""
        x = np.nanmean(x, axis=3)
        return [x[:, i : i + self.views] for i in range(0, x.shape[1], self.views)]

    def _lda(self) -> Pipeline:
        count = len(self.classes_)
        lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=self.shrinkage, priors=np.full(count, 1 / count))
        return make_pipeline(StandardScaler(), lda)


def build(shape: tuple[int, int, int], classes: int, *, views: PositiveInt = 1, shrinkage: Share = 0.3) -> LayerLDA:
    """`views` is the number of channels of each layer: the number of `features.speeds`.

    Raises: UserError for a number of channels that is no multiple of `views`.
    """
    channels = shape[0]
    if channels % views:
        raise UserError(f"model.views: {channels} channels cannot be divided into layers of {views} views")
    return LayerLDA(views, shrinkage)
