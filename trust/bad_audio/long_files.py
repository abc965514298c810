"""Recordings that last for hours."""

import re
from pathlib import Path

import numpy as np
import soundfile

from emotion_lightning.data.audio import BadClip
from emotion_lightning.serving import package
from trust.bad_audio.damaged_sounds import Sounds, written
from trust.rows import Row, Setting
from trust.workers import Lost, Worker


class _Long:
    """Predicts a file, as a whole or with its timeline, and returns the seconds it was heard to last, or the reason."""

    def __init__(self, model: Path):
        self.recogniser = package.read(model)

    def __call__(self, job: tuple[Path, bool]) -> tuple[float, str]:
        try:
            return self.recogniser.file(job[0], timeline=job[1]).seconds, ""
        except BadClip as reason:
            return 0.0, str(reason)


def hours(model: Path, sounds: Sounds, setting: Setting) -> Row:
    """Hours of speech are read block by block, hours of silence and cut recordings are refused, in 400 MB."""
    folder = setting.work / "long"
    folder.mkdir()
    speech = np.tile(np.concatenate(sounds.voices), max(1, int(setting.times(1_800, 130) * sounds.rate / 100_000)))
    hours = setting.times(4)
    wanted: dict[str, tuple[float, str]] = {}
    for name in ("flac", "mp3", "ogg", "wav"):
        with soundfile.SoundFile(folder / f"speech.{name}", "w", sounds.rate, 1) as file:
            for first in range(0, len(speech), sounds.rate):  # libsndfile crashes where it is given all at once
                file.write(speech[first : first + sounds.rate])
        content = (folder / f"speech.{name}").read_bytes()
        (folder / f"cut.{name}").write_bytes(content[: 3 * len(content) // 4])
        wanted |= {f"speech.{name}": (len(speech) / sounds.rate, ""), f"cut.{name}": (0.0, "truncated|corrupt")}
    with soundfile.SoundFile(folder / "silence.flac", "w", 48_000, 2) as file:
        for _ in range(60 * hours):
            file.write(np.zeros((60 * 48_000, 2)))
    header = bytearray(written(np.zeros(1), 8_000, "WAV", "PCM_16")[:44])
    header[40:44] = (2 * 8_000 * 3_600 * hours).to_bytes(4, "little")
    header[4:8] = (2 * 8_000 * 3_600 * hours + 36).to_bytes(4, "little")
    with (folder / "sparse.wav").open("wb") as file:
        file.write(header)
        file.truncate(44 + 2 * 8_000 * 3_600 * hours)
    wanted |= {"silence.flac": (0.0, "silent"), "sparse.wav": (0.0, "silent")}
    speech[-5 * sounds.rate] = np.nan
    soundfile.write(folder / "nan.wav", speech, sounds.rate, subtype="FLOAT")
    wanted["nan.wav"] = (0.0, "not numbers")
    faults = []
    with Worker(_Long, model, seconds=600, megabytes=400) as worker:
        for (name, (seconds, reason)), timeline in (
            (item, flag) for item in wanted.items() for flag in (False, True)
        ):
            try:
                found, given = worker.ask((folder / name, timeline))
            except Lost as lost:
                found, given = -1.0, str(lost)
            if abs(found - seconds) > 0.5 or not re.search(reason, given) or bool(given) != bool(reason):
                faults.append(f"{name}: {found:.1f} s, '{given}'")
    seen = f"speech of {len(speech) / sounds.rate / 60:.0f} minutes, silence of {hours} hours; 400 MB at most"
    return Row("long files, cut and whole", 2 * len(wanted), tuple(faults), seen)
