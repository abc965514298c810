"""Five short clips, and the cache of their waveforms and of one feature."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import soundfile
from conftest import hiss, tone

from emotion_lightning.config import parts
from emotion_lightning.config.schema import Audio
from emotion_lightning.corpora import Clip
from emotion_lightning.data import cache
from emotion_lightning.data.filesystem import Track

AUDIO = Audio()


def silently(items: Iterable[Any], what: str, count: int) -> Iterable[Any]:
    return items


def never(items: Iterable[Any], what: str, count: int) -> Iterable[Any]:
    raise AssertionError(f"{what} again")


def clip(path: Path) -> Clip:
    return Clip(path.stem, path, "toy", "happy", "toy-1")


def make_clips(folder: Path) -> list[Clip]:
    """Five clips of unequal length and level, 16 and 48 kHz."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (seconds, level) in enumerate([(0.3, 0.1), (0.7, 0.2), (0.2, 1e-3), (0.5, 0.05), (0.4, 0.1)]):
        rate = 48_000 if number % 2 else 16_000
        wave = hiss(seconds, rate, level, seed=number) + tone(300 + 200 * number, seconds, rate, level)
        soundfile.write(folder / f"{number}.wav", wave.clip(-1, 1), rate, subtype="PCM_24")
    return [clip(path) for path in sorted(folder.glob("*.wav"))]


def both(
    clips: Sequence[Clip],
    folder: Path,
    track: Track = silently,
    name: str = "log_mel",
    settings: Audio = AUDIO,
    **args: Any,
) -> tuple[cache.Waves, cache.Features]:
    waves = cache.waves(clips, settings, folder, track)
    feature = parts.entry("features", name)(settings.sample_rate, **args)
    return waves, cache.features(waves, feature, name, args, folder, track)


def files(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that is cached: inode, time of change and bytes of each file; locks left out."""
    found = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock")
    return {str(p.relative_to(folder)): (p.stat().st_ino, p.stat().st_mtime_ns, p.read_bytes()) for p in found}
