"""Figures with names that matplotlib would read as formulas."""

from io import BytesIO

import pytest
import torch
from matplotlib import figure

from emotion_lightning.figure import Figure
from emotion_lightning.training import plots

BROKEN_FORMULA = r"$\frac$ & $x_{$"


def test_a_name_with_a_broken_formula_is_drawn_as_it_is() -> None:
    drawn = plots.confusion(torch.tensor([[3, 1], [0, 2]]), [BROKEN_FORMULA, "sad"], BROKEN_FORMULA)
    drawn.savefig(BytesIO())
    with pytest.raises(ValueError, match="frac"):  # what matplotlib's own figure does
        plain = figure.Figure()
        plain.subplots().set_title(BROKEN_FORMULA)
        plain.savefig(BytesIO())


def test_text_looks_as_in_matplotlibs_figure() -> None:
    pictures = []
    for kind in (Figure, figure.Figure):
        drawn = kind(figsize=(3, 2), layout="constrained")
        axes = drawn.subplots()
        axes.plot([1, 2, 3], label="fearful")
        axes.legend()
        axes.set(title="speaker 01", xlabel="epoch")
        drawn.savefig(out := BytesIO(), format="rgba")
        pictures.append(out.getvalue())
    assert pictures[0] == pictures[1]
