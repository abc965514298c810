"""Reads audio files as mono waveforms at one sample rate: decode, downmix, remove DC, trim, resample.

DC is removed before trimming, because with an offset (SAVEE has 3–4 % of full scale) silence would not be recognised.
Trimming comes before resampling, because this saves work.
"""

import errno
import math
import os
import re
import stat
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from emotion_lightning.config.schema import Audio
from emotion_lightning.data import ogg

Waveform = NDArray[np.float32]

RATES = range(1_000, 768_001)  # Hz; a damaged header says 1 Hz, and resampling would make hours of it
MOST_SAMPLES = 2**27  # of all channels, decoded at once: 512 MB, 46 minutes in mono at 48 kHz
LOUDEST = 100.0  # on a scale from -1 to 1; recorders of 32-bit floats go above 1, and a file of integers has 32768
SILENT_PEAK = 1e-4  # -80 dBFS; the quietest clip of RAVDESS (-64 dBFS RMS) peaks far above

SHORTENED = re.compile(
    r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE
)  # in libsndfile's log
STREAMED = (
    0x7FFF_F000  # bytes; a header has this size or more if the recorder wrote to a pipe and did not know the size
)
LONGEST = 2**40  # samples; libsndfile gives 2⁶³ - 1 for a streamed FLAC, whose header says "unknown"


class _Bytes(BytesIO):
    """Bytes in which libsndfile may seek to before the start, as a damaged header makes it; a file ignores that, too."""

    def seek(self, offset: int, whence: int = 0) -> int:
        with suppress(ValueError):
            return super().seek(offset, whence)
        return self.tell()


PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT}
"""Too many open files, no memory, and a disk or network that does not answer."""


class BadClip(Exception):
    """Raised for a file that cannot be used as a clip. The message is the reason."""


def decode(path: Path) -> tuple[Waveform, int]:
    """Returns the waveform (samples,), mono in -1…1 without DC, and its rate in Hz.

    Raises:
        BadClip: the file is missing, not audio, truncated, silent, empty or too long, or has samples that are not numbers.
        OSError: the machine cannot read it now.
    """
    require_file(path)
    samples, rate = _read(path)
    return mono(samples), rate


def decode_bytes(content: bytes, longest: float) -> tuple[Waveform, int]:
    """Returns the same for the bytes of an audio file of at most `longest` seconds: a small file can hold hours of silence.

    Raises:
        BadClip: as in `decode`, or the file lasts longer.
    """
    samples, rate = _read(_Bytes(content), longest)
    return mono(samples), rate


def mono(samples: Waveform) -> Waveform:
    """Averages the channels of (samples, channels) to (samples,) without DC.

    Raises:
        BadClip: there is no sample or no sound, or a sample is not a number or far too large.
    """
    if len(samples) == 0:
        raise BadClip("no samples")
    require_numbers(samples)
    wave = downmix(samples)
    wave = wave - wave.mean()
    if (peak := float(max(wave.max(), -wave.min()))) < SILENT_PEAK:
        raise BadClip(f"silent (peak {20 * np.log10(max(peak, 1e-9)):.0f} dBFS)")
    return wave


def require_numbers(samples: Waveform) -> None:
    """Raises BadClip for samples (N, channels) of which one is not a number or far above full scale."""
    peak = max(samples.max(), -samples.min())
    if not np.isfinite(peak):  # one NaN or infinite sample is enough
        raise BadClip("samples that are not numbers (NaN or infinite)")
    if peak > LOUDEST:
        raise BadClip(f"samples up to {peak:.3g}, where full scale is 1; normalise it")


def downmix(samples: Waveform) -> Waveform:
    """Averages the channels of (samples, channels); channels that cancel each other (inverted ones) give the loudest."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    mean, peaks = samples.mean(axis=1), np.abs(samples).max(axis=0)
    return samples[:, peaks.argmax()] if np.abs(mean).max() < 0.1 * peaks.max() else mean


def _read(source: Path | BytesIO, longest: float = math.inf) -> tuple[Waveform, int]:
    """Returns the waveform (samples, channels) and its rate in Hz. Refuses a file that is shorter than its header says."""
    try:
        with opened(source) as file:
            require_whole(file, source, longest)
            if file.frames * file.channels > MOST_SAMPLES:
                raise BadClip(f"too long ({file.frames / file.samplerate:.0f} s in {file.channels} channels); cut it")
            samples = file.read(file.frames, dtype="float32", always_2d=True)  # some codecs cannot seek
    except (soundfile.LibsndfileError, OSError) as error:
        _raise_fault_of_the_machine(source)
        raise BadClip(
            "empty file" if not _size(source) else f"corrupt ({getattr(error, 'error_string', error)})"
        ) from None
    if len(samples) < file.frames:
        raise BadClip(f"truncated ({len(samples)} of {file.frames} samples)")
    return samples, file.samplerate


def _raise_fault_of_the_machine(source: Path | BytesIO) -> None:
    """Raises the OSError that keeps a file from being read now: it must not be noted as a fault of the clip, for good."""
    try:
        if isinstance(source, Path):
            with source.open("rb") as file:
                file.read(1)
    except OSError as error:
        if error.errno in PASSING:
            raise


def opened(source: Path | BytesIO) -> soundfile.SoundFile:
    """Opens a file; its name goes to libsndfile as bytes, because it need not be UTF-8."""
    return soundfile.SoundFile(os.fsencode(source) if isinstance(source, Path) else source)


def require_file(path: Path) -> None:
    """Raises BadClip for a missing file, and for a folder, pipe or device: reading these may never end."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise BadClip("missing") from None
    except (OSError, ValueError) as error:  # ValueError: a name with a null byte
        raise BadClip(f"it cannot be opened ({getattr(error, 'strerror', error)})") from None
    if not stat.S_ISREG(mode):
        raise BadClip("not a file")


def require_whole(file: soundfile.SoundFile, source: Path | BytesIO, longest: float = math.inf) -> None:
    """Raises BadClip for an open file with an impossible header, one that is not whole, or one of more than `longest` s."""
    if file.samplerate not in RATES:
        raise BadClip(f"a rate of {file.samplerate} Hz; {RATES[0]} to {RATES[-1]} are possible")
    if file.frames > LONGEST:
        raise BadClip("its header has no length; re-encode it")
    if file.frames > longest * file.samplerate:
        raise BadClip(f"it lasts {file.frames / file.samplerate:.0f} s; at most {longest:.0f} s are possible here")
    shortened = SHORTENED.search(file.extra_info)  # libsndfile accepts a truncated WAV
    if shortened and int(shortened[2]) < int(shortened[1]) < STREAMED:
        raise BadClip(f"truncated ({shortened[2]} of {shortened[1]} bytes)")
    if file.format == "OGG" and (fault := ogg.damage(BytesIO(_content(source)))):
        raise BadClip(fault)


def _size(source: Path | BytesIO) -> int:
    return source.getbuffer().nbytes if isinstance(source, BytesIO) else source.stat().st_size


def _content(source: Path | BytesIO) -> bytes:
    return source.getvalue() if isinstance(source, BytesIO) else source.read_bytes()


def trim(wave: Waveform, top_db: float, frame: int = 2048, hop: int = 512) -> Waveform:
    """Cuts leading and trailing frames that are `top_db` below the loudest one, with the frames of librosa.effects.trim."""
    padded = np.zeros(len(wave) + frame, np.float32)
    padded[frame // 2 : frame // 2 + len(wave)] = wave
    blocks = padded[: len(padded) // hop * hop].reshape(-1, hop)
    hops = np.einsum("ij,ij->i", blocks, blocks)  # energy of each hop, used by all frames that contain it
    power = np.convolve(hops, np.ones(frame // hop, np.float32), "valid")
    loud = np.flatnonzero(power > power.max() * 10 ** (-top_db / 10))
    return wave[loud[0] * hop : min(len(wave), (loud[-1] + 1) * hop)]


def load(path: Path, settings: Audio) -> Waveform:
    """Returns the waveform (samples,) float32 at `settings.sample_rate` Hz, trimmed as the settings say.

    Raises:
        BadClip: as in `decode`, or the clip is too short.
    """
    return prepare(*decode(path), settings)


def prepare(wave: Waveform, rate: int, settings: Audio) -> Waveform:
    """Trims and resamples a waveform (samples,) at `rate` Hz as `load` does.

    Raises:
        BadClip: it is too short.
    """
    if settings.trim_db is not None:
        wave = trim(wave, settings.trim_db)
    if len(wave) < settings.min_seconds * rate:
        raise BadClip(f"too short ({len(wave) / rate:.3f} s after trimming, {settings.min_seconds} s needed)")
    wave = wave if rate == settings.sample_rate else soxr.resample(wave, rate, settings.sample_rate)
    if len(wave) == 0:
        raise BadClip("no samples")
    return wave
