"""The figure that all plots start from."""

from typing import Any

from matplotlib import figure
from matplotlib.text import Text


class Figure(figure.Figure):
    """A figure with each text as it was written: a name may contain `$`, which starts a formula in matplotlib."""

    def draw(self, renderer: Any) -> None:
        """Draws the figure, as matplotlib does when it is saved."""
        for text in self.findobj(Text):
            text.set_parse_math(False)
        super().draw(renderer)
