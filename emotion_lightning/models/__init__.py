"""Models: one file each. `build((C, F, T), classes, *, …)` gives a network for input of that shape, or a scikit-learn
classifier, which is fitted on float32 features (N, C, F, T) with NaN behind each clip's end and needs `predict_proba`
or `decision_function`.

A setting named `weights` says where a network starts; a trained run is built again with `weights: none`.
"""

from abc import abstractmethod

from torch import Tensor, nn


class Network(nn.Module):
    @abstractmethod
    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """x (B, C, F, T) normalised features, valid (B,) the share of the time axis that holds the clip → logits (B, classes)."""

    def penalty(self) -> Tensor | float:
        """What is added to the training loss, such as an L2 penalty that is the network's own; it is in no figure."""
        return 0.0

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Parameters from the input to the head, for freezing (all but the last) and layer-wise learning rates."""
        return [list(self.parameters())]
