"""Sound files → cached pictures, against librosa with the same settings, against DeepEmoNet's way (librosa, then drawn with
matplotlib), and against decoding alone, which is the lower bound."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import soundfile

from benchmarks.timing import Row, Setting, Unavailable, in_turns, seconds
from emotion_lightning.config import parts
from emotion_lightning.config.schema import Audio
from emotion_lightning.corpora import Clip, open_corpus
from emotion_lightning.data import cache
from emotion_lightning.data.filesystem import parallel

GUARDED = True
SAMPLE, DRAWN = 160, 40  # clips for timing librosa and the drawing, spread over the corpora


def rows(setting: Setting) -> Iterator[Row]:
    if setting.data is None:
        raise Unavailable("it needs real corpora: DATA=<folder with ravdess/ and savee/>")
    corpora = {name: open_corpus(name, {}, setting.data, setting.work).clips for name in ("ravdess", "savee")}
    clips = [clip for corpus in corpora.values() for clip in corpus]
    sample = clips[:: len(clips) // SAMPLE]
    ours, decoded, librosa, drawn = in_turns(
        setting.rounds,
        lambda: len(clips) / seconds(lambda: build(corpora, setting.work)),
        lambda: len(clips) / seconds(lambda: list(parallel(lambda clip: soundfile.read(clip.path), clips))),
        lambda: len(sample) / seconds(lambda: list(map(librosa_mel, sample))),
        lambda: DRAWN / seconds(lambda: draw(sample[:: SAMPLE // DRAWN][:DRAWN], setting.work / "drawn.png")),
    )
    yield Row(
        "all clips to cached waveforms and 256 px pictures",
        [len(clips) / rate for rate in ours],
        "s",
        goal=5,
        at_most=True,
    )
    yield Row("clips to cached pictures", ours, "clips/s", librosa, "librosa's mel alone, one core", guard=1.5)
    yield Row("clips to cached pictures", ours, "clips/s", drawn, "librosa and matplotlib, one core", guard=5)
    yield Row("clips to cached pictures", ours, "clips/s", decoded, "decoding alone, all cores", guard=0.2)


def build(corpora: dict[str, tuple[Clip, ...]], work: Path) -> None:
    """Caches waveforms and pictures of all clips, then removes the cache."""
    folder = work / "cache"
    feature = parts.entry("features", "picture")(16_000)
    for clips in corpora.values():
        waves = cache.waves(clips, Audio(), folder, untracked)
        cache.features(waves, feature, "picture", {}, folder, untracked)
    shutil.rmtree(folder)


def untracked(items: Iterable[Any], what: str, count: int) -> Iterable[Any]:
    return items


def librosa_mel(clip: Clip) -> Any:
    """Returns the log-mel spectrogram (128, T) in dB, by the author's steps before the drawing: decode, resample, trim, mel."""
    import librosa

    wave, rate = librosa.load(clip.path, sr=16_000)
    wave, _ = librosa.effects.trim(wave, top_db=60)
    mel = partial(librosa.feature.melspectrogram, sr=rate, n_fft=512, hop_length=128, n_mels=128)
    return librosa.power_to_db(mel(y=wave), ref=abs(wave).max())


def draw(clips: Sequence[Clip], path: Path) -> None:
    """Writes one PNG per clip to `path`, by all of the author's steps: the content of the axes, without ticks and frame."""
    import librosa.display
    from matplotlib.figure import Figure

    for clip in clips:
        figure = Figure(figsize=(2.56, 2.56), dpi=100)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        librosa.display.specshow(librosa_mel(clip), sr=16_000, hop_length=128, cmap="magma", ax=axes)
        figure.savefig(path)
