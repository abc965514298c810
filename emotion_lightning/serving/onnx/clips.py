"""Finds the clips that an export is checked on: the user's, those of the run's corpora, or generated voices."""

from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from emotion_lightning.config.schema import Experiment
from emotion_lightning.corpora import demo
from emotion_lightning.data import audio
from emotion_lightning.data.audio import BadClip, Waveform
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.errors import UserError
from emotion_lightning.serving.recogniser import Recogniser, decodable

MOST = 100


@dataclass(frozen=True)
class Clips:
    """`waves` are prepared as in training, for the parity check; `of` says what they are."""

    waves: list[Waveform]
    of: str
    training: list[Waveform] = field(default_factory=list)
    """Clips of the training split, by which ranges of 8 bits are chosen."""
    test: list[Waveform] = field(default_factory=list)
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """The test split, and the classes (N,) of its clips."""


def of_files(files: list[Path], recogniser: Recogniser) -> Clips:
    """Reads at most 100 sound files. Raises: UserError where none can be used."""
    waves, fault = [], ""
    for path in files[:: max(1, len(files) // MOST)][:MOST]:
        try:
            with decodable(path) as readable:
                wave = audio.load(readable, recogniser.audio)
                waves.append(wave[: round(recogniser.about.longest_seconds * recogniser.rate)])
        except BadClip as reason:
            fault = f"{path.name}: {reason}"
    if not waves:
        raise UserError(f"AUDIO: none of the files can be used ({fault})")
    return Clips(waves, f"given, {len(waves)} of {len(files)} files")


def of_run(experiment: Experiment, classes: tuple[str, ...]) -> Clips:
    """Reads the corpora that the model was trained on, with the same split.

    Raises: UserError where they are not there, or are others.
    """
    data = EmotionData(experiment)
    data.setup()
    if data.classes != classes:
        raise UserError(f"the corpora have other emotions now ({', '.join(data.classes)})")
    training = _spread(data.split.train)
    return Clips(
        [data.waveform(i) for i in _spread(data.split.test)],
        f"test clips of {', '.join(experiment.corpora)}",
        [data.waveform(i) for i in training],
        [data.waveform(i) for i in data.split.test],
        data.labels[torch.from_numpy(data.split.test)].numpy(),
    )


def generated(recogniser: Recogniser) -> Clips:
    """Makes voices of corpora/demo.py, at lengths from a third of a second to the longest training clip."""
    with TemporaryDirectory() as folder:
        files = sorted(demo.prepare(Path(folder), speakers=1, takes=1).rglob("*.wav"))
        waves = [audio.load(file, recogniser.audio) for file in files[:: len(files) // 24]]
    most = recogniser.about.longest_seconds * recogniser.rate
    sizes = np.geomspace(recogniser.rate / 3, most, len(waves)).astype(int)
    return Clips([np.resize(wave, size) for wave, size in zip(waves, sizes, strict=True)], "generated voices (DEMO)")


def _spread(index: NDArray[np.int64]) -> list[int]:
    """Returns at most 100 of these, evenly spread."""
    chosen: list[int] = index[np.linspace(0, len(index) - 1, min(MOST, len(index))).round().astype(int)].tolist()
    return chosen
