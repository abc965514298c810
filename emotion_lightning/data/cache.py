"""Stores waveforms and features on disk, memory-mapped: one folder for each corpus and setting.

A folder's name contains a digest of everything that its bytes depend on: name, size and times of each file, the settings,
and the source of the code that made them (filesystem.py).

    waves-<digest>/      samples.i16 (all clips, concatenated, int16), index.npz (start, length, scale, digest, fault per clip)
    log_mel-<digest>/    features.npy (clips, C, F, T), valid.npy (clips,)
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotion_lightning.config import parts
from emotion_lightning.config.schema import Args, Audio
from emotion_lightning.corpora import Clip
from emotion_lightning.data import audio
from emotion_lightning.data.filesystem import Track, build_once, digest, parallel, source_digest
from emotion_lightning.errors import UserError
from emotion_lightning.features import Feature


@dataclass(frozen=True)
class Waves:
    """The waveforms of one corpus. A clip that cannot be read has length 0, and the reason is in `faults`."""

    key: str
    rate: int  # Hz
    samples: NDArray[np.int16]  # all clips, concatenated, memory-mapped
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    scales: NDArray[np.float32]  # int16 × scale = the waveform; each clip fills the 16 bits
    digests: NDArray[np.str_]  # of a clip's samples: equal for equal audio in any file format and at any gain
    faults: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def content(self) -> str:
        """16 hex digits that name the audio, whatever the dates of its files."""
        return digest(self.rate, self.digests.tolist(), self.scales.tolist(), self.faults.tolist())

    def batch(self, rows: Sequence[int] | NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Returns waveforms (B, samples) float32, zero-padded at the end, and their lengths (B,) in samples."""
        lengths = self.lengths[rows]
        waves = torch.zeros(len(rows), int(lengths.max()))
        for out, row in zip(waves, rows, strict=True):
            start, length = self.starts[row], self.lengths[row]
            out[:length] = torch.from_numpy(self.samples[start : start + length] * self.scales[row])
        return waves, torch.from_numpy(lengths)


@dataclass(frozen=True)
class Features:
    """The stored features of one corpus, memory-mapped: values (clips, C, F, T), and the valid share of T (clips,).

    `content` names the audio and the computation; `key` names their folder, and also depends on the dates of the files.
    """

    key: str
    content: str
    values: Tensor
    valid: Tensor


def waves(clips: Sequence[Clip], settings: Audio, folder: Path, track: Track) -> Waves:
    """Returns the waveforms of the clips, from the cache, or decoded now on all cores."""
    key = digest(
        # with the time of the last change of the entry: two versions of a corpus may have equal names, sizes and dates
        [(c.id, s.st_size, s.st_mtime_ns, s.st_ctime_ns) if (s := _stat(c.path)) else (c.id,) for c in clips],
        settings.model_dump(),
        *(source_digest(Path(file)) for file in (audio.__file__, __file__)),
    )
    stored = build_once(folder / f"waves-{key}", lambda tmp: _write_waves(tmp, clips, settings, track))
    return read_waves(stored, key, settings.sample_rate)


def read_waves(folder: Path, key: str, rate: int) -> Waves:
    """Opens the folder of a corpus; `rate` is the sample rate in Hz."""
    names = ("starts", "lengths", "scales", "digests", "faults")
    with readable(folder), np.load(folder / "index.npz") as index:
        columns = {name: index[name] for name in names}
        samples = (
            np.memmap(folder / "samples.i16", np.int16, "r") if columns["lengths"].any() else np.zeros(0, np.int16)
        )
    return Waves(key, rate, samples, **columns)


@contextmanager
def readable(folder: Path) -> Iterator[None]:
    """Raises UserError where numpy cannot read a file of this folder of the cache, or would have to unpickle it."""
    try:
        yield
    except (OSError, ValueError, LookupError, EOFError, BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"'{folder}' is damaged ({reason}); delete this folder, and it is made again") from error


def features(source: Waves, feature: Feature, name: str, args: Args, folder: Path, track: Track) -> Features:
    """Returns the feature of each clip, from the cache, or computed now on all cores. Unreadable clips get zeros."""
    files = {path for part in (name, *feature.made_of) for path in parts.sources("features", part)}
    code = [source_digest(path) for path in [Path(audio.__file__), *sorted(files)]]
    computation = (name, args, list(map(str, feature.pretrained)), *code)
    key = digest(source.key, *computation)
    stored = build_once(folder / f"{name}-{key}", lambda tmp: _write_features(tmp, source, feature, track))
    with readable(stored):
        # copy on write, because torch warns about read-only memory
        values = torch.from_numpy(np.load(stored / "features.npy", mmap_mode="c"))
        valid = torch.from_numpy(np.load(stored / "valid.npy"))
    return Features(key, digest(source.content, *computation), values, valid)


def _write_waves(folder: Path, clips: Sequence[Clip], settings: Audio, track: Track) -> None:
    def load(clip: Clip) -> Packed:
        try:
            return pack(audio.load(clip.path, settings))
        except audio.BadClip as fault:
            return b"", 0.0, "", str(fault)

    write_packed(folder, track(parallel(load, clips), "decoding", len(clips)))


Packed = tuple[bytes, float, str, str]
"""The int16 samples of a waveform, their scale, their digest, and the fault of the clip or ""."""


def pack(wave: NDArray[np.float32]) -> Packed:
    """Scales a waveform (samples,) so that its loudest sample fills the 16 bits."""
    scale = float(max(wave.max(), -wave.min())) / 32767
    samples = np.rint(wave * np.float32(1 / scale)).astype(np.int16).tobytes()
    return samples, scale, hashlib.blake2b(samples, digest_size=8).hexdigest(), ""


def write_packed(folder: Path, packed: Iterable[Packed], **columns: list[Any]) -> None:
    """Writes samples.i16 and index.npz.

    `columns` are additional arrays with one value per waveform. They are read after the last waveform, so that the caller
    may fill them while it yields waveforms.
    """
    lengths, scales, digests, faults = [], [], [], []
    with (folder / "samples.i16").open("wb") as file:
        for samples, scale, name, fault in packed:
            file.write(samples)
            lengths.append(len(samples) // 2)
            scales.append(scale)
            digests.append(name)
            faults.append(fault)
    ends = np.cumsum(lengths, dtype=np.int64)
    arrays: dict[str, Any] = {
        "starts": ends - lengths,
        "lengths": np.array(lengths, np.int64),
        "scales": np.array(scales, np.float32),
        "digests": np.array(digests),
        "faults": np.array(faults),
    }
    arrays |= {name: np.array(values) for name, values in columns.items()}
    np.savez(folder / "index.npz", **arrays)


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
    with (folder / "features.npy").open("wb") as file:  # a memory map takes a third longer, for its page faults
        np.lib.format.write_array_header_1_0(file, form)
        for value, share in track(parallel(compute, range(len(source))), "features", len(source)):
            file.write(value.tobytes())
            valid.append(share)
    np.save(folder / "valid.npy", np.array(valid, np.float32))


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:  # decoding the file will report the reason
        return None
