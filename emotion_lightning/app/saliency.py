"""What in a recording mattered for the answer. It needs the extra `explain`; without it, the page has no button for it."""

from html import escape
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from emotion_lightning.app import pictures
from emotion_lightning.app.answer import unusable
from emotion_lightning.data import audio
from emotion_lightning.data.audio import BadClip
from emotion_lightning.serving.recogniser import Recogniser, decodable

LONG = "Only of recordings that are as short as the clips of the training can this be shown."


def is_available() -> bool:
    """Returns whether the extra is installed."""
    return all(find_spec(name) for name in ("captum", "emotion_lightning.explain"))


def show(recogniser: Recogniser, path: Path) -> str:
    """Returns HTML: a map of the times and bands that spoke for or against the most probable emotion."""
    try:
        with decodable(path) as readable:
            wave = audio.load(readable, recogniser.audio)
    except BadClip as fault:
        return escape(unusable(fault))
    if len(wave) > recogniser.about.longest_seconds * recogniser.rate:
        return LONG
    attribution, figures = (import_module(f"emotion_lightning.explain.{name}") for name in ("attribution", "figures"))
    number = int(recogniser.probabilities([wave])[0].argmax())
    emotion = recogniser.about.classes[number]
    found = attribution.attribute(recogniser.model.classifier, wave, number)
    title = f"red speaks for {emotion}, blue against it"
    return pictures.element(
        figures.attribution(wave, recogniser.rate, found, title), f"Map of the recording: {title}"
    )
