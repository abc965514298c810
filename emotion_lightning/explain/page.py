"""Writes the page of a run's errors: reports/explain/<run>/index.html, which needs no other file."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.console import Console

from emotion_lightning.data.filesystem import replacing
from emotion_lightning.errors import UserError
from emotion_lightning.explain import Method, figures, groups, source
from emotion_lightning.explain.embedding import embed
from emotion_lightning.explain.source import Clips, Explained
from emotion_lightning.training import kept

MOST_PAIRS = 15
OVERLAP = 0.1  # a silhouette score below this is of groups that overlap


@dataclass(frozen=True)
class Mistake:
    """One wrong test clip as the page shows it; `picture` and `sound` are data: addresses, or "" without the corpus."""

    clip: str
    true: str
    predicted: str
    probability: str
    probability_of_true: str
    about: str
    picture: str = ""
    sound: str = ""


def write(explained: Explained, most: int, method: Method, console: Console) -> Path:
    """Writes the page with the `most` most confident mistakes, and returns its file.

    Without the corpora it has no sounds, spectrograms and map of the clips, and says so.
    """
    notes: list[str] = []
    clips, embedding = None, None
    try:
        clips = source.open_clips(explained, console)
    except UserError as error:
        reason = str(error).split("\n")[0]
        notes.append(f"Without sounds, spectrograms and the map of the clips, because these are not here: {reason}.")
    if clips:
        explained = source.with_sentences(explained, clips)
        notes += [clips.note] if clips.note else []
        try:
            embedding = _embedding(explained, clips, method)
        except UserError as error:
            notes.append(f"Without the map of the clips: {error}.")
    for note in notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False, highlight=False)
    folder = source.folder(explained)
    texts = {
        **_scores(explained),
        "notes": notes,
        "mistakes": list(_mistakes(explained, most, clips)),
        "sounds": clips is not None,
        "embedding": embedding,
        "audio_pages": sorted(file.name for file in folder.glob("*.html") if file.name != "index.html"),
    }
    return render("index.html", explained, f"Errors of {explained.title}", texts)


def render(template: str, explained: Explained, title: str, texts: dict[str, Any], name: str = "index.html") -> Path:
    """Writes a page into the run's folder, and returns its file."""
    environment = Environment(
        loader=PackageLoader("emotion_lightning", "explain"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    file = source.folder(explained) / name
    file.parent.mkdir(parents=True, exist_ok=True)
    page = environment.get_template(template).render(
        title=title, demo=explained.experiment.is_demo, run=explained, **texts
    )
    with replacing(file) as part:
        part.write_text(page, encoding="utf-8")
    return file


def _scores(explained: Explained) -> dict[str, Any]:
    predictions = explained.predictions
    wrong = int((predictions.labels != predictions.predicted).sum())
    by_field = {field: groups.by_field(predictions, field) for field in groups.FIELDS}
    pairs = groups.confused(predictions)
    return {
        "uar": f"{100 * explained.run.data.metrics['test/uar']:.1f} %",
        "accuracy": f"{100 * (1 - wrong / len(predictions.labels)):.1f} %",
        "wrong": wrong,
        "total": len(predictions.labels),
        "pairs": pairs[:MOST_PAIRS],
        "more_pairs": max(0, len(pairs) - MOST_PAIRS),
        "groups": {field: found for field, found in by_field.items() if found},
        "single": [field for field, found in by_field.items() if not found],
    }


def most_confident(explained: Explained, most: int) -> list[int]:
    """Returns the rows of the wrong test clips with the highest probability of the predicted emotion, that one first."""
    predictions = explained.predictions
    wrong = np.flatnonzero(predictions.labels != predictions.predicted)
    order = np.argsort(-predictions.probabilities[wrong].max(1), kind="stable")
    return [int(row) for row in wrong[order][:most]]


def _mistakes(explained: Explained, most: int, clips: Clips | None) -> Iterator[Mistake]:
    predictions, rate = explained.predictions, explained.experiment.audio.sample_rate
    for row in most_confident(explained, most):
        label, guess = int(predictions.labels[row]), int(predictions.predicted[row])
        of_guess, of_label = (f"{100 * predictions.probabilities[row, c]:.0f}\u00a0%" for c in (guess, label))
        about = [f"speaker {predictions.speakers[row]}"]
        for field in ("sex", "intensity", "sentence"):
            if value := predictions.fields[field][row]:
                about.append(value if field == "sex" else f"{field} {value}")
        picture = sound = ""
        clip = predictions.clips[row]
        if clips:
            wave = clips.data.waveform(clips.rows[clip])
            picture, sound = figures.png(figures.spectrogram(wave, rate)), figures.wav(wave, rate)
        names = predictions.classes
        yield Mistake(clip, names[label], names[guess], of_guess, of_label, ", ".join(about), picture, sound)


def _embedding(explained: Explained, clips: Clips, method: Method) -> dict[str, Any]:
    """Returns the texts and the figure of the embedding.

    Raises: UserError where the run has kept no model.
    """
    data = clips.data
    index = np.array([clips.rows[name] for name in explained.predictions.clips])
    found = embed(kept.model(explained.run).classifier, data, index, method)
    names = {field: [getattr(data.clips[row], field) for row in index] for field in ("emotion", "speaker")}
    return {
        "about": found.about,
        "sentence": silhouette_sentence(found.silhouettes["emotion"], found.silhouettes["speaker"]),
        "pictures": {field: figures.png(figures.embedding(found.points, of)) for field, of in names.items()},
    }


def silhouette_sentence(emotion: float | None, speaker: float | None) -> str:
    """Says whether clips are arranged by emotion or by speaker, from two silhouette scores."""
    if emotion is None or speaker is None:
        missing = "emotion" if emotion is None else "speaker"
        return f"There is no silhouette score by {missing}, since all test clips have one, or each has its own."
    shown = f"The silhouette score is {emotion:+.2f} by emotion and {speaker:+.2f} by speaker".replace("-", "−")
    more, less = ("emotion", "speaker") if emotion > speaker else ("speaker", "emotion")
    weak = " Both are near 0, so groups overlap." if max(abs(emotion), abs(speaker)) < OVERLAP else ""
    return f"{shown}: clips are arranged by {more} more than by {less}.{weak}"
