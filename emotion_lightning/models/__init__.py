"""Models: one file each. `build((C, F, T), classes, *, …)` returns a network or a scikit-learn classifier.

A classifier is fitted on float32 features (N, C, F, T) with NaN after the end of each clip, and needs `predict_proba` or
`decision_function`. A setting named `weights` is the source of a network's initial weights; the model of a finished run is
built with `weights: none` before its own weights are loaded.
"""

from abc import abstractmethod

from torch import Tensor, nn

from emotion_lightning.weights import Origin


class Network(nn.Module):
    """Maps normalised features to logits."""

    pretrained: tuple[Origin, ...] = ()
    """The outside weights that the network started from, if any."""

    @abstractmethod
    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """Returns logits (B, classes).

        `x` (B, C, F, T) are normalised features, `valid` (B,) the share of the time axis that the clip fills.
        """

    def penalty(self) -> Tensor | float:
        """Returns what is added to the loss that training minimises, for example an L2 penalty. Logged losses exclude it."""
        return 0.0

    def layer_groups(self) -> list[list[nn.Parameter]]:
        """Returns groups of parameters from the input to the head.

        Stages freeze all groups but the last one, and may give each group its own learning rate.
        """
        return [list(self.parameters())]
