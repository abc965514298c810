"""Waveforms and features on disk, made once: one folder a corpus and setting, memory-mapped, named by its content.

The name is a digest of everything the bytes depend on: each file's name, size and time of change, the settings, and
the source of the code that made them. A folder is built beside its place under a lock and moved there in one step,
so it is whole or not there, however many processes ask and whenever one is killed.

    waves-<digest>/      samples.i16 (all clips in a row, int16), index.npz (start, length, scale, digest, fault per clip)
    picture-<digest>/    features.npy (clips, C, F, T), valid.npy (clips,)
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor

from emotion_lightning import audio, parts
from emotion_lightning.corpora import Clip
from emotion_lightning.experiment import Args, Audio
from emotion_lightning.features import Feature

Track = Callable[[Iterable[Any], str, int], Iterable[Any]]
"""(items, what is done, how many) → the same items, with a progress bar where there is a terminal."""


@dataclass(frozen=True)
class Waves:
    """The waveforms of one corpus. A clip with a fault has length 0 and says why in `faults`."""

    key: str
    rate: int  # Hz
    samples: NDArray[np.int16]  # all clips in a row, memory-mapped
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    scales: NDArray[np.float32]  # int16 × scale = the waveform; each clip fills the 16 bits
    digests: NDArray[np.str_]  # of a clip's samples: equal audio, equal digest, whatever the file's format or gain
    faults: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """(B, samples) float32 zero-padded behind to the longest, and lengths (B,) in samples."""
        lengths = self.lengths[rows]
        waves = torch.zeros(len(rows), int(lengths.max()))
        for out, row in zip(waves, rows, strict=True):
            start, length = self.starts[row], self.lengths[row]
            out[:length] = torch.from_numpy(self.samples[start : start + length] * self.scales[row])
        return waves, torch.from_numpy(lengths)


@dataclass(frozen=True)
class Features:
    """One corpus's features in their stored form, memory-mapped: (clips, C, F, T), and the valid share (clips,)."""

    key: str
    values: Tensor
    valid: Tensor


def waves(clips: Sequence[Clip], settings: Audio, folder: Path, track: Track) -> Waves:
    """The clips' waveforms, from the cache or decoded now on all cores."""
    key = digest(
        [(c.id, s.st_size, s.st_mtime_ns) if (s := _stat(c.path)) else (c.id,) for c in clips],
        settings.model_dump(),
        _source(Path(audio.__file__)),
    )
    place = _build(folder / f"waves-{key}", lambda tmp: _write_waves(tmp, clips, settings, track))
    index = np.load(place / "index.npz")
    samples = np.memmap(place / "samples.i16", np.int16, "r") if index["lengths"].any() else np.zeros(0, np.int16)
    return Waves(key, settings.sample_rate, samples, **{name: index[name] for name in index.files})


def features(source: Waves, feature: Feature, name: str, args: Args, folder: Path, track: Track) -> Features:
    """The feature of each clip in `source`, from the cache or computed now on all cores; clips with a fault are zeros."""
    code = [Path(p) for p in (parts.load("features", name).__file__, audio.__file__) if p]
    code += sorted(Path(__file__).with_name("features").glob("*.py"))  # features build on one another
    key = digest(source.key, name, args, *(_source(path) for path in code))
    place = _build(folder / f"{name}-{key}", lambda tmp: _write_features(tmp, source, feature, track))
    values = np.load(place / "features.npy", mmap_mode="c")  # copy on write: torch warns of read-only memory
    return Features(key, torch.from_numpy(values), torch.from_numpy(np.load(place / "valid.npy")))


def _write_waves(folder: Path, clips: Sequence[Clip], settings: Audio, track: Track) -> None:
    def load(clip: Clip) -> tuple[bytes, float, str, str]:
        try:
            wave = audio.load(clip.path, settings)
        except audio.BadClip as fault:
            return b"", 0.0, "", str(fault)
        scale = float(max(wave.max(), -wave.min())) / 32767
        samples = np.rint(wave * np.float32(1 / scale)).astype(np.int16).tobytes()
        return samples, scale, hashlib.blake2b(samples, digest_size=8).hexdigest(), ""

    lengths, scales, digests, faults = [], [], [], []
    with (folder / "samples.i16").open("wb") as file:
        for samples, scale, digest, fault in track(_parallel(load, clips), "decoding", len(clips)):
            file.write(samples)
            lengths.append(len(samples) // 2)
            scales.append(scale)
            digests.append(digest)
            faults.append(fault)
    ends = np.cumsum(lengths, dtype=np.int64)
    np.savez(
        folder / "index.npz",
        starts=ends - lengths,
        lengths=np.array(lengths, np.int64),
        scales=np.array(scales, np.float32),
        digests=np.array(digests),
        faults=np.array(faults),
    )


def _write_features(folder: Path, source: Waves, feature: Feature, track: Track) -> None:
    def compute(row: int) -> tuple[NDArray[Any], float]:
        if not source.lengths[row]:
            return silence, 0.0
        with torch.inference_mode():  # a thread has its own mode
            value, share = feature(*source.batch([row]))
        return value[0].numpy(), float(share)

    silence = np.zeros(0)
    silence = np.zeros_like(compute(int(source.lengths.argmax()))[0])
    form = {"descr": silence.dtype.str, "fortran_order": False, "shape": (len(source), *silence.shape)}
    valid = []
    with (folder / "features.npy").open("wb") as file:  # not a memory map: faulting its pages in costs a third more
        np.lib.format.write_array_header_1_0(file, form)
        for value, share in track(_parallel(compute, range(len(source))), "features", len(source)):
            file.write(value.tobytes())
            valid.append(share)
    np.save(folder / "valid.npy", np.array(valid, np.float32))


def _parallel(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """`function` of each item in order, on a thread a core: decoder, resampler and torch all let go of Python's lock.

    Threads, since processes would each import torch: more memory and seconds of start. They take 16 items at a time,
    and 2048 before the writer has all of these, so few results wait. torch stays on one core a thread meanwhile.
    """

    def several(first: int) -> list[Any]:
        return [function(item) for item in items[first : first + 16]]

    before, workers = torch.get_num_threads(), len(os.sched_getaffinity(0))
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(workers) as pool:
            for block in range(0, len(items), 2048):
                for results in pool.map(several, range(block, min(block + 2048, len(items)), 16)):
                    yield from results
    finally:
        torch.set_num_threads(before)


def _build(place: Path, write: Callable[[Path], None]) -> Path:
    """`place`, filled by `write` if it is not there yet."""
    if place.is_dir():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(place.with_name(f".{place.name}.lock")):
        if not place.is_dir():
            part = place.with_name(f".{place.name}.part")
            shutil.rmtree(part, ignore_errors=True)  # left by one that was killed
            part.mkdir()
            write(part)
            part.replace(place)
    return place


def digest(*things: Any) -> str:
    return hashlib.blake2b(json.dumps(things).encode(), digest_size=8).hexdigest()


def _source(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes(), digest_size=8).hexdigest()


def _stat(path: Path) -> os.stat_result | None:
    return path.stat() if path.exists() else None
