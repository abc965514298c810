"""Hidden states of Whisper base: clips → cached states, an epoch on cached states, and Whisper's own padding to 30 s."""

import resource
import shutil
from collections.abc import Iterator

import torch

from benchmarks.cache_features import untracked
from benchmarks.timing import Row, Setting, Unavailable, in_turns, seconds
from emotion_lightning import weights
from emotion_lightning.config import parts
from emotion_lightning.config.schema import Audio
from emotion_lightning.corpora import open_corpus
from emotion_lightning.data import cache
from emotion_lightning.features._speech_encoders import RATE, WHISPER_SECONDS
from emotion_lightning.weights.fetch import find

SAMPLE = 24  # clips for timing the padded input, spread over the corpus
BATCH = 64


def rows(setting: Setting) -> Iterator[Row]:
    if setting.data is None:
        raise Unavailable("it needs real corpora: DATA=<folder with ravdess/>")
    if find(weights.load("whisper_base")) is None:
        raise Unavailable("the weights whisper_base are not on this machine (make weights NAME=whisper_base)")
    folder = setting.work / "cache"
    clips = open_corpus("ravdess", {}, setting.data, setting.work).clips
    waves = cache.waves(clips, Audio(trim_db=None), folder, untracked)
    args = {"layers": [2, 3, 4, 5], "pool": "statistics"}
    feature = parts.entry("features", "encoder")(16_000, layers=(2, 3, 4, 5))
    feature(*waves.batch([0]))  # loads the encoder

    def build() -> cache.Features:
        return cache.features(waves, feature, "encoder", args, folder, untracked)

    stored = build()

    def epoch() -> float:
        return seconds(lambda: [stored.values[i : i + BATCH].clone() for i in range(0, len(clips), BATCH)])

    def compute() -> float:
        shutil.rmtree(folder / f"encoder-{stored.key}")
        return seconds(build)

    some = range(0, len(clips), len(clips) // SAMPLE)
    own, padded = in_turns(
        setting.rounds,
        lambda: seconds(lambda: [feature(*waves.batch([row])) for row in some]) / len(some),
        lambda: seconds(lambda: [_padded(feature, waves, row) for row in some]) / len(some),
    )
    computed, read = zip(*((compute(), epoch()) for _ in range(min(3, setting.rounds))), strict=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    yield Row(f"{len(clips)} clips of RAVDESS to cached states", computed, "s", goal=90, at_most=True)
    yield Row(
        "an epoch", [1 / s for s in read], "epochs/s", [1 / s for s in computed], "computing the states", goal=20
    )
    yield Row(
        "one clip at its own length", [1 / s for s in own], "clips/s", [1 / s for s in padded], "padded to 30 s"
    )
    yield Row("peak memory of the process, imports included", [peak], "GiB", goal=3, at_most=True)


def _padded(feature: torch.nn.Module, waves: cache.Waves, row: int) -> object:
    wave, _ = waves.batch([row])
    length = round(WHISPER_SECONDS * RATE)
    return feature(torch.nn.functional.pad(wave, (0, length - wave.shape[1])), torch.tensor([length]))
