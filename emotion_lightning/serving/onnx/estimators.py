"""Fitted scikit-learn models as torch modules that compute the same numbers, in 64 bits as scikit-learn does."""

from itertools import combinations
from typing import Any

import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from torch import Tensor, nn

from emotion_lightning.errors import UserError
from emotion_lightning.features import valid_frames
from emotion_lightning.models.lda import LayerLDA
from emotion_lightning.models.svm import mean, mean_std
from emotion_lightning.models.svm_search import Channel
from emotion_lightning.training.estimator import EmotionEstimator

SMALLEST = 1e-12  # of a probability whose logarithm is taken, as in training/estimator.py


class Estimator(nn.Module):
    """Maps stored features (B, C, F, T) and valid shares (B,) to probabilities (B, classes), as EmotionEstimator does."""

    def __init__(self, model: EmotionEstimator):
        """Raises: UserError for a scikit-learn model that has no counterpart here."""
        super().__init__()
        self.feature, self.temperature = model.feature, model.temperature
        self.values, known = as_module(model.estimator), model.estimator.classes_
        place = torch.zeros(len(known), len(model.classes), dtype=torch.float64)
        place[torch.arange(len(known)), torch.as_tensor(known)] = 1
        self.register_buffer("place", place)

    def forward(self, stored: Tensor, valid: Tensor) -> Tensor:
        x = self.feature.present(stored)
        values = self.values(x, valid_frames(valid, x.shape[3]))
        place = self.get_buffer("place")
        logits = values @ place - 1e4 * (1 - place.sum(0))  # a class that training did not have
        return (logits / self.temperature).softmax(1).float()


def as_module(estimator: Any) -> nn.Module:
    """Returns a module from features (B, C, F, T) and the mask (B, T) of their frames to values (B, known classes).

    Raises: UserError for a model that is not known here.
    """
    if isinstance(estimator, GridSearchCV):
        return as_module(estimator.best_estimator_)
    if isinstance(estimator, LayerLDA):
        return LayerLDAs(estimator)
    if isinstance(estimator, Pipeline) and len(estimator) == 3 and isinstance(estimator[1], StandardScaler):
        pool, scaler, classifier = estimator
        if isinstance(classifier, SVC) and classifier.kernel in ("rbf", "linear"):
            return Chain(_pool(pool), Scale(scaler), KernelMachine(classifier))
        if isinstance(classifier, LogisticRegression):
            return Chain(_pool(pool), Scale(scaler), LogProbabilities(classifier))
    raise UserError(
        "EXPORT: of scikit-learn's models, the SVM with an RBF or a linear kernel, LDA and logistic regression of this "
        f"framework can be exported, not {type(estimator).__name__}"
    )


class Chain(nn.Module):
    """Pools the frames, standardises the statistics, and classifies them."""

    def __init__(self, pool: nn.Module, scale: nn.Module, classify: nn.Module):
        super().__init__()
        self.pool, self.scale, self.classify = pool, scale, classify

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        values: Tensor = self.classify(self.scale(self.pool(x, mask)))
        return values


def frame_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Returns the mean (B, C, F) over the True frames of (B, C, F, T), in 64 bits."""
    inside = mask[:, None, None].double()
    return (x.double() * inside).sum(3) / inside.sum(3)


class Pool(nn.Module):
    """The pooling of models/svm.py and svm_search.py: means of all channels or of one, with deviations or without."""

    def __init__(self, deviation: bool = False, channel: int | None = None):
        super().__init__()
        self.deviation, self.channel = deviation, channel

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x if self.channel is None else x[:, self.channel : self.channel + 1]
        average = frame_mean(x, mask)
        if not self.deviation:
            return average.flatten(1)
        spread = frame_mean((x.double() - average[..., None]).square(), mask).sqrt()
        return torch.cat([average.flatten(1), spread.flatten(1)], 1)


def _pool(step: Any) -> Pool:
    if isinstance(step, Channel):
        return Pool(channel=step.channel)
    if isinstance(step, FunctionTransformer) and step.func in (mean, mean_std):
        return Pool(deviation=step.func is mean_std)
    raise UserError(f"EXPORT: the pooling of this model cannot be exported ({step})")


class Scale(nn.Module):
    """StandardScaler."""

    def __init__(self, scaler: StandardScaler):
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(scaler.mean_).double())
        self.register_buffer("scale", torch.from_numpy(scaler.scale_).double())

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.get_buffer("mean")) / self.get_buffer("scale")


class Linear(nn.Module):
    """The decision values (B, classes) of a linear model; of two classes, one has the value 0."""

    def __init__(self, model: LogisticRegression | LinearDiscriminantAnalysis):
        super().__init__()
        weights, bias = (torch.from_numpy(x).double() for x in (model.coef_, model.intercept_))
        if len(weights) == 1:
            weights, bias = (torch.cat([torch.zeros_like(x), x]) for x in (weights, bias))
        self.register_buffer("weights", weights.T.contiguous())
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.get_buffer("weights") + self.get_buffer("bias")


class LogProbabilities(Linear):
    """The logarithms of the probabilities of a linear model."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).softmax(-1).clamp(min=SMALLEST).log()


class LayerLDAs(nn.Module):
    """models/lda.py: the mean log probabilities of one LDA for each layer, over views and layers."""

    def __init__(self, estimator: LayerLDA):
        super().__init__()
        self.views = estimator.views
        self.scales = nn.ModuleList(Scale(layer[0]) for layer in estimator.layers_)
        self.linear = nn.ModuleList(LogProbabilities(layer[1]) for layer in estimator.layers_)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        layers = frame_mean(x, mask).split(self.views, 1)  # each (B, views, F)
        logs = [linear(scale(x)).mean(1) for scale, linear, x in zip(self.scales, self.linear, layers, strict=True)]
        return torch.stack(logs).mean(0)


class KernelMachine(nn.Module):
    """SVC with an RBF or a linear kernel: scikit-learn's one-against-rest decision values, or of two classes ± the one value."""

    def __init__(self, machine: SVC):
        super().__init__()
        self.gamma = None if machine.kernel == "linear" else float(machine._gamma)
        vectors, coefficients = (torch.from_numpy(x).double() for x in (machine.support_vectors_, machine.dual_coef_))
        pairs = list(combinations(range(len(machine.classes_)), 2))
        owner = torch.repeat_interleave(torch.as_tensor(machine.n_support_).long())  # (vectors,) the class of each
        weights = torch.zeros(len(pairs), len(vectors), dtype=torch.float64)
        first, second = (torch.zeros(len(pairs), len(machine.classes_), dtype=torch.float64) for _ in "ab")
        for row, (a, b) in enumerate(
            pairs
        ):  # libsvm keeps the coefficients against b in row b - 1, against a in row a
            weights[row] = coefficients[b - 1] * (owner == a) + coefficients[a] * (owner == b)
            first[row, a] = second[row, b] = 1
        self.register_buffer("vectors", vectors)
        self.register_buffer("weights", weights.T.contiguous())
        self.register_buffer("bias", torch.from_numpy(machine.intercept_).double())
        self.register_buffer("first", first)
        self.register_buffer("second", second)

    def forward(self, x: Tensor) -> Tensor:
        vectors, first, second = (self.get_buffer(name) for name in ("vectors", "first", "second"))
        products = x @ vectors.T
        if self.gamma is not None:
            squares = x.square().sum(1, keepdim=True) + vectors.square().sum(1) - 2 * products
            products = torch.exp(-self.gamma * squares.clamp(min=0))
        values = products @ self.get_buffer("weights") + self.get_buffer("bias")
        if first.shape[1] == 2:
            return torch.cat([-values, values], 1)
        votes = (values >= 0).double() @ first + (values < 0).double() @ second
        sums = values @ (first - second)
        return votes + sums / (3 * (sums.abs() + 1))
