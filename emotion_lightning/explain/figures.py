"""The figures of the pages, and files as data: addresses, so that a page needs no other file."""

import base64
import io
from collections.abc import Sequence

import numpy as np
import soundfile
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from numpy.typing import NDArray

from emotion_lightning.explain import mel
from emotion_lightning.explain.maps import Map
from emotion_lightning.figure import Figure

HERTZ = (250, 500, 1000, 2000, 4000, 8000, 16000)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#A6761D")
MARKS = "osD^vP*X"
CELL, FEW_BANDS = 0.05, 24  # s, and bands of a drawn map
MOST_NAMES = 24  # in a legend


def png(figure: Figure, dpi: int = 110) -> str:
    """Returns a figure as a data: address."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=dpi)
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def wav(wave: NDArray[np.float32], sample_rate: int) -> str:
    """Returns a waveform (samples,) as the data: address of a 16-bit WAV file."""
    out = io.BytesIO()
    soundfile.write(out, np.clip(wave, -1, 1), sample_rate, format="WAV", subtype="PCM_16")
    return "data:audio/wav;base64," + base64.b64encode(out.getvalue()).decode()


def spectrogram(wave: NDArray[np.float32], sample_rate: int) -> Figure:
    """Draws the log-mel spectrogram of a waveform (samples,)."""
    figure = Figure(figsize=(4.0, 1.9), layout="constrained")
    axes = figure.subplots()
    _draw_sound(axes, wave, sample_rate, "magma")
    axes.tick_params(labelsize=8)
    axes.set_xlabel("s", fontsize=8, labelpad=0)
    return figure


def _draw_sound(axes: Axes, wave: NDArray[np.float32], sample_rate: int, colours: str) -> None:
    """Draws the spectrogram on a mel axis 0…1, with ticks in Hz."""
    values = mel.spectrogram(wave, sample_rate)
    extent = (0, len(wave) / sample_rate, 0, 1)
    axes.imshow(values, origin="lower", aspect="auto", extent=extent, cmap=colours, vmin=-80, vmax=0)
    _mel_ticks(axes, sample_rate)


def _mel_ticks(axes: Axes, sample_rate: int) -> None:
    shown = [f for f in HERTZ if f <= sample_rate / 2]
    names = [f"{f // 1000} kHz" if f >= 1000 else f"{f} Hz" for f in shown]
    axes.set_yticks(list(mel.mel(shown) / mel.mel(sample_rate / 2)), names)
    axes.set_ylim(0, 1)


def embedding(points: NDArray[np.float64], names: Sequence[str]) -> Figure:
    """Draws the clips (N, 2), marked by their names, for example of the emotion."""
    figure = Figure(figsize=(5, 5.4), layout="constrained")
    axes, of_clip, known = figure.subplots(), np.array(names), sorted(set(names))
    for number, name in enumerate(known):
        mark, colour = MARKS[(number // len(COLOURS) + number) % len(MARKS)], COLOURS[number % len(COLOURS)]
        x, y = points[of_clip == name].T
        axes.plot(x, y, mark, color=colour, markersize=5, alpha=0.75, markeredgewidth=0, label=name)
    axes.set(xticks=[], yticks=[])
    if len(known) <= MOST_NAMES:
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.01), ncols=4, frameon=False, fontsize=8)
    return figure


def attribution(wave: NDArray[np.float32], sample_rate: int, found: Map, title: str) -> Figure:
    """Draws a map over the spectrogram, with its sums over the bands (below) and over time (right).

    A fine map is summed in cells of about 50 ms and a 24th of the mel axis, since single cells of a spectrogram cannot be read.
    """
    found = found.summed(FEW_BANDS, max(1, round(found.seconds / CELL)))
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    grid = figure.subplot_mosaic([["map", "bands"], ["times", "."]], width_ratios=[6, 1], height_ratios=[4, 1])
    sound = grid["map"]
    _draw_sound(sound, wave, sample_rate, "Greys")
    largest = float(np.quantile(np.abs(found.values), 0.995)) or 1.0
    norm = TwoSlopeNorm(0, -largest, largest)
    opacity = np.clip(np.abs(found.values) / largest, 0, 1) ** 0.7 * 0.85
    extent = (0, found.seconds, 0, 1)
    sound.imshow(found.values, origin="lower", aspect="auto", extent=extent, cmap="RdBu_r", norm=norm, alpha=opacity)
    sound.set(title=title, xlim=(0, len(wave) / sample_rate))
    _bars(grid["times"], found.values.sum(0), found.seconds, upright=True)
    grid["times"].set(xlim=(0, len(wave) / sample_rate), xlabel="s", yticks=[])
    _bars(grid["bands"], found.values.sum(1), 1.0, upright=False)
    _mel_ticks(grid["bands"], sample_rate)
    grid["bands"].set(xticks=[], yticklabels=[])
    return figure


def _bars(axes: Axes, values: NDArray[np.float64], span: float, upright: bool) -> None:
    """Draws sums along an axis that is `span` long: red for the emotion, blue against it."""
    places, width = (np.arange(len(values)) + 0.5) * span / len(values), span / len(values)
    colours = np.where(values > 0, "#B2182B", "#2166AC")
    (axes.bar if upright else axes.barh)(places, values, width, color=colours)
    (axes.axhline if upright else axes.axvline)(0, color="#666666", linewidth=0.6)
