"""Rows of a corpus: each clip, followed by the variants that its offline augmentations make of it.

They are made once, and stored in the cache next to the waveforms:

    rows-<digest>/      samples.i16, index.npz (as in waves-<digest>/, and the clip and variant of each row)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emotion_lightning.augment import OfflineAugmentation
from emotion_lightning.config import parts
from emotion_lightning.config.schema import Args
from emotion_lightning.data import audio
from emotion_lightning.data.cache import Packed, Waves, pack, read_waves, readable, write_packed
from emotion_lightning.data.filesystem import Track, build_once, digest, parallel, source_digest
from emotion_lightning.errors import UserError

SHORTEST = 0.1  # s, of a row


@dataclass(frozen=True)
class Expanded:
    """The waveforms of all rows.

    `clips` (rows,) is the number of each row's clip. `variants` (rows,) names what was made of it; "" is the clip as recorded.
    """

    waves: Waves
    clips: NDArray[np.int64]
    variants: NDArray[np.str_]


def offline_augmentations(augment: Mapping[str, Args]) -> dict[str, OfflineAugmentation]:
    """Returns those of an experiment's augmentations that are applied once, before training."""
    augmentations = {name: parts.entry("augment", name)(**args) for name, args in augment.items()}
    return {name: part for name, part in augmentations.items() if part.stage == "rows"}


def expand(source: Waves, augment: Mapping[str, Args], folder: Path, track: Track) -> Expanded:
    """Returns the rows of each clip in `source`, from the cache or made now on all cores; a bad clip stays one row.

    Raises: UserError where two augmentations give two variants of a clip the same name.
    """
    chosen = offline_augmentations(augment)
    if not chosen:
        return Expanded(source, np.arange(len(source)), np.full(len(source), ""))
    code = [path for name in chosen for path in parts.sources("augment", name)]
    settings = [(name, augment[name]) for name in chosen]
    key = digest(source.key, settings, *(source_digest(path) for path in [Path(__file__), *code]))
    path = build_once(folder / f"rows-{key}", lambda tmp: _write(tmp, source, chosen, track))
    with readable(path), np.load(path / "index.npz") as index:
        clips, variants = index["clips"], index["variants"]
    return Expanded(read_waves(path, key, source.rate), clips, variants)


def _is_audible(wave: NDArray[np.float32], source: Waves) -> bool:
    """Returns whether a row is worth keeping: a slice of a clip may be a pause, or very short."""
    return len(wave) >= SHORTEST * source.rate and float(np.abs(wave).max()) >= audio.SILENT_PEAK


def _rows_of(
    number: int, source: Waves, augmentations: Mapping[str, OfflineAugmentation]
) -> list[tuple[str, Packed]]:
    """Returns the rows of one clip by variant, the clip as recorded first."""
    start, length = source.starts[number], source.lengths[number]
    samples, scale, content = source.samples[start : start + length], source.scales[number], source.digests[number]
    recorded = ("", (samples.tobytes(), float(scale), str(content), str(source.faults[number])))
    if not length:
        return [recorded]
    wave, generator = samples * scale, np.random.default_rng(int(content, 16))
    variants = [
        (name, variant)
        for augmentation in augmentations.values()
        for name, variant in augmentation.variants(wave, source.rate, generator)
        if _is_audible(variant, source)
    ]
    if len({name for name, _ in variants}) < len(variants):
        raise UserError(f"augment: {' and '.join(augmentations)} make variants of the same name of one clip")
    return [recorded, *((name, pack(variant)) for name, variant in variants)]


def _write(folder: Path, source: Waves, augmentations: Mapping[str, OfflineAugmentation], track: Track) -> None:
    clips: list[int] = []
    variants: list[str] = []

    def in_order() -> Iterator[Packed]:
        # each result is several waveforms, so few clips are computed ahead
        results = parallel(lambda number: _rows_of(number, source, augmentations), range(len(source)), ahead=256)
        for number, rows in enumerate(track(results, "rows", len(source))):
            for variant, packed in rows:
                clips.append(number)
                variants.append(variant)
                yield packed

    write_packed(folder, in_order(), clips=clips, variants=variants)
