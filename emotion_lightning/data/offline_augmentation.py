"""A corpus's clips as rows: each clip, then what the augmentations of stage `rows` make of it. Made once, on disk beside the
waveforms:

    rows-<digest>/      samples.i16, index.npz (as waves-<digest>/, and the clip and kind of each row)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion_lightning.augment import Rows
from emotion_lightning.config import parts
from emotion_lightning.config.schema import Args
from emotion_lightning.data import audio
from emotion_lightning.data.cache import Packed, Waves, pack, read_waves, write_packed
from emotion_lightning.data.filesystem import Track, build, digest, parallel, source_digest
from emotion_lightning.errors import UserError

SHORTEST = 0.1  # s, of a row


@dataclass(frozen=True)
class Multiplied:
    """`clips` (rows,) is the number of each row's clip; its `kinds` (rows,) is "" for the clip as recorded."""

    waves: Waves
    clips: NDArray[np.int64]
    kinds: NDArray[np.str_]


def makers(augment: Mapping[str, Args]) -> dict[str, Rows]:
    """Those of an experiment's augmentations that make rows."""
    made = {name: parts.entry("augment", name)(**args) for name, args in augment.items()}
    return {name: part for name, part in made.items() if part.stage == "rows"}


def multiplied(source: Waves, augment: Mapping[str, Args], folder: Path, track: Track) -> Multiplied:
    """The rows of each clip in `source`, from the cache or made now on all cores; a clip with a fault stays one row."""
    chosen = makers(augment)
    if not chosen:
        return Multiplied(source, np.arange(len(source)), np.full(len(source), ""))
    code = [Path(file) for name in chosen if (file := parts.load("augment", name).__file__)]
    code += sorted((Path(__file__).parents[1] / "augment").glob("*.py"))  # makers build on one another
    settings = [(name, augment[name]) for name in chosen]
    key = digest(source.key, settings, *(source_digest(path) for path in [Path(__file__), *code]))
    place = build(folder / f"rows-{key}", lambda tmp: _write(tmp, source, chosen, track))
    index = np.load(place / "index.npz")
    return Multiplied(read_waves(place, key, source.rate), index["clips"], index["kinds"])


def _is_heard(wave: NDArray[np.float32], source: Waves) -> bool:
    """A slice may be a pause, or a stub."""
    return len(wave) >= SHORTEST * source.rate and float(np.abs(wave).max()) >= audio.SILENT_PEAK


def _write(folder: Path, source: Waves, made_by: Mapping[str, Rows], track: Track) -> None:
    names, chosen = list(made_by), list(made_by.values())
    clips: list[int] = []
    kinds: list[str] = []

    def rows_of(number: int) -> list[tuple[str, Packed]]:
        start, length = source.starts[number], source.lengths[number]
        samples = source.samples[start : start + length]
        original = (samples.tobytes(), float(source.scales[number]), str(source.digests[number]))
        first = ("", (*original, str(source.faults[number])))
        if not length:
            return [first]
        wave, chance = samples * source.scales[number], np.random.default_rng(int(original[2], 16))
        made = [
            row for maker in chosen for row in maker.further(wave, source.rate, chance) if _is_heard(row[1], source)
        ]
        if len({kind for kind, _ in made}) < len(made):
            raise UserError(f"augment: {' and '.join(names)} make rows of the same kind of one clip")
        return [first, *((kind, pack(further)) for kind, further in made)]

    def in_order() -> Iterator[Packed]:
        found = parallel(rows_of, range(len(source)), ahead=256)  # each is several waveforms
        for number, rows in enumerate(track(found, "rows", len(source))):
            for kind, packed in rows:
                clips.append(number)
                kinds.append(kind)
                yield packed

    write_packed(folder, in_order(), clips=clips, kinds=kinds)
