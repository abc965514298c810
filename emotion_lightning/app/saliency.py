"""What in a recording mattered for the answer. It needs the extra `explain`; without it, the page has no button for it."""

from html import escape
from importlib.util import find_spec
from pathlib import Path

from emotion_lightning.app.answer import WIDTH, picture, unusable
from emotion_lightning.data import audio
from emotion_lightning.data.audio import BadClip
from emotion_lightning.serving.recogniser import Recogniser, decodable

LONG = "This can be shown only of recordings that are as short as the clips of the training."


def is_available() -> bool:
    """Returns whether the extra is installed."""
    return find_spec("captum") is not None


def show(recogniser: Recogniser, path: Path) -> str:
    """Returns HTML: a map of the times and bands that spoke for or against the most probable emotion."""
    from emotion_lightning.explain import attribution, audio_page, figures

    try:
        with decodable(path) as readable:
            wave = audio.load(readable, recogniser.audio)
    except BadClip as fault:
        return escape(unusable(fault))
    if len(wave) > recogniser.about.longest_seconds * recogniser.rate:
        return LONG
    number = int(recogniser.probabilities([wave])[0].argmax())
    emotion = recogniser.about.classes[number]
    found = attribution.attribute(recogniser.model.classifier, wave, number)
    title = f"red speaks for {emotion}, blue against it"
    figure = figures.attribution(wave, recogniser.rate, found, title)
    figure.set_figwidth(WIDTH)
    words = f"{audio_page.strongest(found, recogniser.rate, emotion)} The map describes the model, not the voice."
    return f"{picture(figure, title)}<p>{escape(words)}</p>"
