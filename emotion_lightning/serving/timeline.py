"""Timelines for people: a picture, and the label file of Audacity."""

from collections.abc import Sequence

from emotion_lightning.figure import Figure
from emotion_lightning.serving.windows import UNCERTAIN, Segment

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#999999")
"""Okabe and Ito's, which the colour-blind can distinguish."""


def clock(seconds: float) -> str:
    """Returns 75.5 s as 1:15.5, and 3675.5 s as 1:01:15.5."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def audacity_labels(segments: Sequence[Segment]) -> str:
    """Returns a label for each segment: start and end in seconds, and the text, separated by tabs."""
    return "".join(f"{s.start:.6f}\t{s.end:.6f}\t{s.emotion} {s.confidence:.2f}\n" for s in segments)


def draw(segments: Sequence[Segment], seconds: float, title: str) -> Figure:
    """Draws one row for each emotion, with a bar for each segment that is as dark as the segment is confident."""
    emotions = sorted({s.emotion for s in segments}, key=lambda e: (e == UNCERTAIN, e))
    figure = Figure(figsize=(9, 1.2 + 0.35 * max(1, len(emotions))), layout="constrained")
    axes = figure.subplots()
    for row, emotion in enumerate(emotions):
        own = [s for s in segments if s.emotion == emotion]
        axes.broken_barh(
            [(s.start, s.end - s.start) for s in own],
            (row - 0.4, 0.8),
            color=COLOURS[row % len(COLOURS)],
            alpha=[0.25 + 0.75 * s.confidence for s in own],
        )
    axes.set(xlim=(0, seconds), ylim=(len(emotions) - 0.5, -0.5), xlabel="seconds")
    axes.set_title(title)
    axes.set_yticks(range(len(emotions)), emotions)
    axes.grid(axis="x", alpha=0.3)
    return figure
