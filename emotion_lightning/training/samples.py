"""Writes a few training clips of different emotions as sound, and as a picture of the feature that the model gets."""

import re
from pathlib import Path

import soundfile
import torch

from emotion_lightning.data.datamodule import EmotionData


def write_samples(data: EmotionData, count: int, folder: Path) -> None:
    """Writes a WAV and a PNG file for one recorded training clip of each of up to `count` emotions."""
    from emotion_lightning.training import plots

    folder.mkdir(parents=True, exist_ok=True)
    rate = data.experiment.audio.sample_rate
    for index in sample_clips(data, count):
        clip = data.clips[index]
        name = re.sub(r"[^\w.-]", "_", f"{clip.emotion}_{clip.corpus}_{clip.id}")
        with data.access_log.purpose("samples"):
            soundfile.write(folder / f"{name}.wav", data.waveform(index), rate, subtype="PCM_16")
            stored = data.gather(torch.tensor([index]), torch.device("cpu")).stored
        plots.write_feature(data.feature.present(stored)[0, 0], folder / f"{name}.png")


def sample_clips(data: EmotionData, count: int) -> list[int]:
    """Returns indices of recorded training clips, one for each of up to `count` emotions that are spread over all emotions."""
    by_emotion: dict[str, list[int]] = {}
    for index in data.split.train.tolist():
        if not data.clips[index].variant:
            by_emotion.setdefault(data.clips[index].emotion, []).append(index)
    emotions = [emotion for emotion in data.classes if emotion in by_emotion]
    count = min(count, len(emotions))
    chosen = [by_emotion[emotions[number * len(emotions) // count]] for number in range(count)]
    # from the beginning to the end of the list, so that not all are by the first speaker
    return [clips[number * len(clips) // count] for number, clips in enumerate(chosen)]
