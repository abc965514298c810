"""What the page says of one recording, in words and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import numpy as np

from emotion_lightning.data.audio import BadClip
from emotion_lightning.explain import figures
from emotion_lightning.figure import Figure
from emotion_lightning.serving import timeline
from emotion_lightning.serving.about import About
from emotion_lightning.serving.recogniser import Recogniser, Recognition, decodable, header_seconds
from emotion_lightning.serving.windows import UNCERTAIN, blocks

MOST_MINUTES = 10
WIDTH = 5.5  # inches of a picture: its text can be read on a telephone, and is not large on a screen


@dataclass(frozen=True)
class Shown:
    """The answer for one recording: Markdown, the probability of each emotion, and HTML elements with pictures.

    Where there is no answer, `text` says why and the rest is empty.
    """

    text: str
    probabilities: dict[str, float] | None = None
    spectrogram: str = ""
    timeline: str = ""


def show(recogniser: Recogniser, path: Path) -> Shown:
    """Returns what the page shows of a recording, or why it cannot be used."""
    try:
        with decodable(path) as readable:
            return _shown(recogniser, readable)
    except BadClip as fault:
        return Shown(unusable(fault))


def unusable(fault: BadClip) -> str:
    """Returns the sentence for a recording that cannot be used."""
    return f"**This recording cannot be used:** {fault}."


def _shown(recogniser: Recogniser, path: Path) -> Shown:
    seconds = header_seconds(path)
    if seconds > 60 * MOST_MINUTES:
        minutes = f"it lasts {seconds / 60:.0f} minutes, and this page takes up to {MOST_MINUTES}"
        raise BadClip(f"{minutes}; `make predict` takes recordings of any length")
    answer = recogniser.file(path, timeline=seconds > recogniser.about.longest_seconds)
    if answer.windows == 1:  # without the silence at its ends, it was heard as a whole
        answer = replace(answer, segments=())
    wave = np.concatenate(list(blocks(path, recogniser.rate)))
    drawn = picture(figures.spectrogram(wave, recogniser.rate), "Spectrogram of the recording")
    return Shown(sentences(answer, recogniser.about), answer.probabilities, drawn, timeline_element(answer))


def timeline_element(answer: Recognition) -> str:
    """Returns an HTML element with the timeline of a long recording, "" for a short one."""
    if not answer.segments:
        return ""
    words = [f"{timeline.clock(s.start)} to {timeline.clock(s.end)} {s.emotion}" for s in answer.segments]
    figure = timeline.draw(answer.segments, answer.seconds, "Emotions over time")
    figure.set_figwidth(WIDTH)
    return picture(figure, f"Timeline: {'; '.join(words)}")


def picture(figure: Figure, about: str) -> str:
    """Returns an HTML element that contains the picture; `about` is its text for people who do not see it."""
    return f'<img class="picture" alt="{escape(about)}" src="{figures.png(figure, dpi=200)}">'


def sentences(answer: Recognition, about: About) -> str:
    """Returns the answer in words, in Markdown: the emotion, the set of emotions, and how long the recording is."""
    first, confidence = answer.ranked[0]
    heading = f"## {answer.emotion}, {confidence:.0%}"
    if answer.emotion == UNCERTAIN:
        heading = f"## {UNCERTAIN}\n\n{first} is most probable, but with {confidence:.0%} it is below the least confidence of "
        heading += f"{answer.min_confidence:.0%}."
    parts = f" It was heard in {answer.windows} parts; the result is their mean." if answer.windows > 1 else ""
    return f"{heading}\n\n{emotion_set(answer.emotions, about)}\n\nThe recording lasts {answer.seconds:.1f} s.{parts}"


def emotion_set(emotions: Sequence[str], about: About) -> str:
    """Returns the set of emotions of a recording in words, with how often such sets were right on the test split."""
    *others, last = emotions
    named = f"{', '.join(others)} or {last}" if others else last
    planned, measured = about.calibration.coverage, about.figures.get("test/set_coverage")
    found = "" if measured is None else f"; on {test_speakers(about)} it did in {measured:.0%}"
    return f"**Possible: {named}.** Such a set is meant to contain the true emotion in {planned:.0%} of clips{found}."


def test_speakers(about: About) -> str:
    """Returns who the test speakers of a model are: known or unseen ones."""
    total, known = (round(about.figures.get(f"test/{key}", 0)) for key in ("speakers", "speakers_trained_on"))
    if not total:
        return "the test split"
    one = "speaker" if total == 1 else "speakers"
    if not known:
        return f"{total} unseen {one}"
    return f"{total} test {one}, {known} of them known from the training"
