"""How a model arranges the test clips: what it computes of each clip just before it decides, reduced to two dimensions."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.metrics import silhouette_score
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.explain import Method
from emotion_lightning.training.classifier import EmotionClassifier
from emotion_lightning.training.inference import Model


@dataclass(frozen=True)
class Embedding:
    """Clips in two dimensions, with the silhouette scores of their representation in all dimensions."""

    points: NDArray[np.float64]  # (N, 2)
    about: str  # what was represented, and how it was reduced
    silhouettes: dict[str, float | None]  # by "emotion" and "speaker"; None where all clips have one value


def embed(model: Model, data: EmotionData, index: NDArray[np.int64], method: Method) -> Embedding:
    """Returns the embedding of these clips (N,)."""
    values, about = represent(model, data, index)
    scaled = StandardScaler().fit_transform(values)
    points, how = _reduced(scaled, method)
    labels = {name: [getattr(data.clips[row], name) for row in index] for name in ("emotion", "speaker")}
    return Embedding(points, f"{about}, {how}", {name: silhouette(scaled, of) for name, of in labels.items()})


@torch.no_grad()
def represent(model: Model, data: EmotionData, index: NDArray[np.int64]) -> tuple[NDArray[np.float32], str]:
    """Returns (N, D) of these clips (N,), and what it is.

    Of a network, this is the input of the linear layer that it calls last. Other models, and networks whose last linear layer
    gets frames instead of clips, are represented by their log-probabilities.
    """
    batches = [data.gather(clips, torch.device("cpu")) for clips in data.loader(index)]
    if isinstance(model, EmotionClassifier) and any(isinstance(m, nn.Linear) for m in model.network.modules()):
        inputs = [_last_linear_input(model, batch.stored, batch.valid) for batch in batches]
        if all(len(x) == len(batch.labels) and x.ndim == 2 for x, batch in zip(inputs, batches, strict=True)):
            joined = torch.cat(inputs).float().numpy()
            return joined, f"the {joined.shape[1]} values that enter the last linear layer of the network"
    logs = torch.cat([model.probabilities(batch.stored, batch.valid) for batch in batches]).clamp(min=1e-12).log()
    return logs.numpy(), f"the logarithms of the {logs.shape[1]} probabilities of the model"


def _last_linear_input(model: EmotionClassifier, stored: Tensor, valid: Tensor) -> Tensor:
    """Returns what the linear layer that is called last gets; a hook sees each call in its order."""
    seen: list[Tensor] = []

    def remember(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen[:] = [inputs[0]]

    hooks = [m.register_forward_pre_hook(remember) for m in model.network.modules() if isinstance(m, nn.Linear)]
    try:
        model(stored, valid)
    finally:
        for hook in hooks:
            hook.remove()
    return seen[0] if seen else torch.empty(0)


def _reduced(scaled: NDArray[np.float32], method: Method) -> tuple[NDArray[np.float64], str]:
    if method == "tsne":
        perplexity = min(30.0, (len(scaled) - 1) / 3)
        points = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(scaled)
        return points, f"standardised and reduced by t-SNE (perplexity {perplexity:.0f})"
    pca = PCA(2, random_state=0)
    points = pca.fit_transform(scaled)
    share = 100 * pca.explained_variance_ratio_.sum()
    return points, f"standardised and reduced by PCA (the two axes have {share:.0f} % of the variance)"


def silhouette(values: NDArray[np.float32], labels: list[str]) -> float | None:
    """Returns the silhouette score, -1…1, of values (N, D); None where labels are all equal, or all different."""
    return float(silhouette_score(values, labels)) if 1 < len(set(labels)) < len(labels) else None
