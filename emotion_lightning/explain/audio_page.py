"""Writes the page of one sound file: which time and band mattered for the emotion that the run's model predicts."""

from pathlib import Path
from typing import Any

import numpy as np

from emotion_lightning.data import audio
from emotion_lightning.errors import UserError
from emotion_lightning.explain import attribution, figures
from emotion_lightning.explain.maps import Map, blocks, likeness
from emotion_lightning.explain.page import render
from emotion_lightning.explain.source import Explained
from emotion_lightning.predict import open_model
from emotion_lightning.serving.recogniser import decodable
from emotion_lightning.training.classifier import EmotionClassifier
from emotion_lightning.training.inference import Model

RANDOM = 3  # networks of random weights that the map is compared with


def write(explained: Explained, file: Path) -> Path:
    """Writes the page of a sound file, and returns it.

    Raises: UserError for a file that cannot be decoded or is longer than a training clip, and for a run whose model does not
    predict single files.
    """
    recogniser = open_model(explained.run.info.run_id)
    model, rate, longest = recogniser.model, recogniser.rate, recogniser.about.longest_seconds
    try:
        with decodable(file) as readable:
            wave = audio.load(readable, recogniser.audio)
    except audio.BadClip as fault:
        raise UserError(f"AUDIO: '{file}': {fault}") from None
    if len(wave) > longest * rate:
        raise UserError(
            f"AUDIO: '{file}' lasts {len(wave) / rate:.1f} s, and the longest training clip {longest:.1f} s; cut out a piece "
            "that is as short (make predict … TIMELINE=1 finds one)"
        )
    probabilities = recogniser.probabilities([wave])[0]
    emotion, *others = (int(number) for number in np.argsort(-probabilities, kind="stable"))
    shown = [f"{model.classes[number]} {100 * probabilities[number]:.0f}\u00a0%" for number in others]
    name = model.classes[emotion]
    found = attribution.attribute(model.classifier, wave, emotion)
    texts = {
        "file": file.name,
        "emotion": name,
        "probability": f"{100 * probabilities[emotion]:.0f}\u00a0%",
        "others": f"Then {', '.join(shown)}.",
        "part": part_used(len(wave) / rate, model.used),
        "sound": figures.wav(wave, rate),
        "picture": figures.png(figures.attribution(wave, rate, found, f"for and against {name}")),
        "strongest": strongest(found, rate, name),
        "method": method(model.classifier, found, name),
        "gradients": attribution.has_gradients(model.classifier),
        "sanity": _sanity(model.classifier, wave, emotion, found),
    }
    return render("audio.html", explained, f"What mattered in {file.name}", texts, f"audio_{file.stem}.html")


def part_used(seconds: float, used: tuple[float, float]) -> str:
    """Returns what to say of a file that is longer than the model uses, or ends before that part; else ""."""
    start, end = used
    if seconds <= start:
        return f"it ends before {start:.1f} s, where the part that the model uses begins"
    return f"only {start:.1f} s to {end:.1f} s of {seconds:.1f} s were used" if seconds > end else ""


def strongest(found: Map, sample_rate: int, emotion: str) -> str:
    """Names the parts of the sound that speak most for and most against the emotion."""
    listed = blocks(found, sample_rate)
    first, last = listed[0], listed[-1]
    sentences = [f"What speaks most for {emotion}: {first}."] if first.value > 0 else []
    sentences += [f"What speaks most against it: {last}."] if last.value < 0 else []
    return " ".join(sentences) or "Nothing in the sound speaks for the emotion or against it."


def method(model: Model, found: Map, emotion: str) -> str:
    """Says how the map was made."""
    if attribution.has_gradients(model):
        return (
            f"Method: integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365) of the score (logit) of {emotion}, "
            f"from silence, the lowest level in each cell of the spectrogram, to the sound, in {attribution.STEPS} steps. "
            f"The score is {_number(found.silence)} for silence and {_number(found.sound)} for the sound; the map sums up to "
            f"{_number(found.values.sum())} of the difference of {_number(found.sound - found.silence)}. For the figure, the map "
            f"is summed in cells of {1000 * figures.CELL:.0f} ms and a {figures.FEW_BANDS}th of the mel axis."
        )
    bands, times = found.values.shape
    return (
        f"Method: occlusion. The sound was divided into {times} times and {bands} bands of equal width on the mel scale. Each "
        f"block was muted in turn, and the feature and the probability were computed anew. The colour is the loss in the "
        f"logarithm of the probability of {emotion}. Blocks that matter only together are not found by this."
    )


def _sanity(model: Model, wave: audio.Waveform, emotion: int, found: Map) -> dict[str, Any] | None:
    """Returns the maps of the network with random weights, compared with that of the trained one; None of an estimator."""
    if not isinstance(model, EmotionClassifier):
        return None
    maps = [attribution.attribute(attribution.randomised(model, seed), wave, emotion) for seed in range(RANDOM)]
    alike = [likeness(found, other) for other in maps]
    figure = figures.attribution(wave, model.experiment.audio.sample_rate, maps[0], "random weights, seed 0")
    return {
        "picture": figures.png(figure),
        "rows": [(_number(one.signed, "+"), _number(one.sizes, "+")) for one in alike],
    }


def _number(value: float, sign: str = "") -> str:
    return "not defined" if np.isnan(value) else f"{value:{sign}.2f}".replace("-", "−")
