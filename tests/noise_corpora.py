"""Noise and tones as clips in the names of RAVDESS and SAVEE, and the data of an experiment on them."""

import re
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import soundfile
import torch
from conftest import hiss, tone

from emotion_lightning.config import loader as settings
from emotion_lightning.config.schema import Experiment
from emotion_lightning.corpora import EMOTIONS
from emotion_lightning.data.datamodule import EmotionData

CPU = torch.device("cpu")
RAVDESS_CODES = dict(zip(("01", "02", "03", "04", "05", "06", "07", "08"), EMOTIONS[:8], strict=True))
SAVEE_CODES = {"n": "neutral", "h": "happy", "sa": "sad", "a": "angry", "f": "fearful", "d": "disgust"}
SAVEE_CODES |= {"su": "surprised"}


def experiment(folder: Path, cache_folder: Path | None = None, **changes: Any) -> Experiment:
    tree = {
        "name": "toy",
        "corpora": {"ravdess": {}},
        "protocol": {"name": "speaker_folds"},
        "features": {"name": "log_mel", "bands": 32},
        "model": {"name": "small_cnn"},
        "data": {"dir": str(folder), "cache": str(cache_folder or folder / "cache"), "batch_size": 8},
    }
    tree["data"] |= changes.pop("data", {})
    return settings.check(tree | changes)


def ready(experiment: Experiment) -> EmotionData:
    data = EmotionData(experiment)
    data.setup()
    return data


def make_ravdess(folder: Path, actors: int = 6, seed: int = 0) -> None:
    """One clip for each actor and emotion; an actor's clips get longer with the emotion, 1.7 s the longest."""
    for actor in range(1, actors + 1):
        place = folder / "ravdess" / f"Actor_{actor:02}"
        place.mkdir(parents=True)
        for number, code in enumerate(RAVDESS_CODES):
            seconds = (27_141 - 3_000 * (7 - number)) / 16_000
            wave = hiss(seconds, seed=seed + 100 * actor + number) + tone(
                200 * (number + 1), seconds, level=0.01 * actor
            )
            soundfile.write(place / f"03-01-{code}-01-01-01-{actor:02}.wav", wave, 16_000)


def make_savee(folder: Path) -> None:
    (folder / "savee" / "ALL").mkdir(parents=True)
    for number, speaker in enumerate(("DC", "JE", "JK", "KL")):
        for other, code in enumerate(SAVEE_CODES):
            wave = hiss(0.3 + 0.05 * other, 44_100, seed=1_000 + 10 * number + other)
            soundfile.write(folder / "savee" / "ALL" / f"{speaker}_{code}01.wav", wave, 44_100)


TWO = {
    "corpora": {"ravdess": {}, "savee": {}},
    "protocol": {"name": "paper_random", "val_share": 0.2, "test_share": 0.2},
}


def emotion_of(path: Path) -> str:
    """From the file's name alone."""
    if match := re.fullmatch(r"03-01-(\d\d)-.*", path.stem):
        return RAVDESS_CODES[match[1]]
    return SAVEE_CODES[re.fullmatch(r"[A-Z]{2}_([a-z]+)\d\d", path.stem)[1]]


def librosa_mel(wave: np.ndarray) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=wave, sr=16_000, n_fft=512, hop_length=128, n_mels=32, pad_mode="constant"
    )
    return librosa.power_to_db(power, ref=np.max, top_db=80)
