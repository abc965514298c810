"""Predicts the emotions of audio files with a trained model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path

from emotion_lightning.config.paths import at_home
from emotion_lightning.corpora import DECODED, media_files
from emotion_lightning.data.audio import BadClip
from emotion_lightning.errors import UserError
from emotion_lightning.serving import package
from emotion_lightning.serving.find import package_folder
from emotion_lightning.serving.recogniser import OTHER_FORMATS, Recogniser, Recognition


@dataclass(frozen=True)
class Prediction:
    """The answer for one file, or the reason why there is none."""

    path: Path
    answer: Recognition | None
    fault: str = ""


def open_model(run: str | None = None, model: str | None = None, min_confidence: float | None = None) -> Recogniser:
    """Opens the model of a run, or a registered one, or one in a folder (serving/find.py).

    Raises: UserError where there is none.
    """
    return package.read(package_folder(run, model), min_confidence)


def sound_files(source: Path | str) -> list[Path]:
    """Returns a file, all sound files in a folder and its subfolders, or those that a pattern such as `calls/*.wav` matches.

    Raises: UserError where there is none.
    """
    path = at_home(Path(source))
    if path.is_file():
        return [path]
    if path.is_dir():
        found = list(media_files(path, DECODED | OTHER_FORMATS))
        if not found:
            raise UserError(f"AUDIO: no audio file ({', '.join(sorted(DECODED))}) in '{path}'")
        return found
    matches = sorted(glob(str(path), recursive=True))  # noqa: PTH207 - takes an absolute pattern, and ** as part of a name
    found = [file for file in map(Path, matches) if file.is_file()]
    if not found:
        raise UserError(f"AUDIO: there is no file or folder '{source}'")
    return found


def predict(files: Sequence[Path], recogniser: Recogniser, timeline: bool = False) -> Iterator[Prediction]:
    """Yields an answer for each file, in order; with `timeline`, each has its segments."""
    if not timeline:
        for path, answer in zip(files, recogniser.files(files), strict=True):
            yield Prediction(path, None, str(answer)) if isinstance(answer, BadClip) else Prediction(path, answer)
        return
    for path in files:
        try:
            yield Prediction(path, recogniser.file(path, timeline=True))
        except BadClip as fault:
            yield Prediction(path, None, str(fault))
