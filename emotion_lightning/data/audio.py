"""Audio files → mono waveforms at one rate: decode, downmix, remove DC, trim, resample.

DC goes first, since an offset (SAVEE has 3–4 % of full scale) would hide silence from the trimming. Trimming comes
before resampling, since it saves work and needs no exact rate.
"""

import re
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from emotion_lightning.config.schema import Audio

Waveform = NDArray[np.float32]

SILENT_PEAK = 1e-4  # -80 dBFS; the quietest clip of RAVDESS (-64 dBFS RMS) peaks far above

SHORTENED = re.compile(
    r"^ *(?:data|SSND|Data Size) *: (\d+) \(should be (\d+)\)", re.MULTILINE
)  # in libsndfile's log
STREAMED = 0x7FFF_F000  # bytes that a recorder which writes to a pipe claims, not knowing how many will come
LONGEST = 2**40  # samples; libsndfile gives 2⁶³ - 1 for a streamed FLAC, whose header says "unknown"


class BadClip(Exception):
    """A file that cannot be heard as a clip; the message says why."""


def decode(path: Path) -> tuple[Waveform, int]:
    """(samples,) mono in -1…1 without DC, and its rate in Hz. Raises BadClip for anything that is not whole audio."""
    samples, rate = _read(path)
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if len(mono) == 0:
        raise BadClip("no samples")
    mean = mono.mean()
    if not np.isfinite(mean):  # one sample that is no number makes the mean none
        raise BadClip("samples that are not numbers (NaN or infinite)")
    mono -= mean
    if (peak := float(max(mono.max(), -mono.min()))) < SILENT_PEAK:
        raise BadClip(f"silent (peak {20 * np.log10(max(peak, 1e-9)):.0f} dBFS)")
    return mono, rate


def _read(path: Path) -> tuple[Waveform, int]:
    """(samples, channels) and the rate, if the file holds all that its header promises."""
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames > LONGEST:
                raise BadClip("its header does not tell its length; re-encode it")
            samples = file.read(dtype="float32", always_2d=True)
            shortened = SHORTENED.search(file.extra_info)  # libsndfile takes what there is of a WAV for all of it
    except (soundfile.LibsndfileError, OSError) as error:
        size = path.stat().st_size if path.exists() else None
        reason = getattr(error, "error_string", str(error))
        raise BadClip("missing" if size is None else "empty file" if size == 0 else f"corrupt ({reason})") from None
    if len(samples) < file.frames:
        raise BadClip(f"truncated ({len(samples)} of {file.frames} samples)")
    if shortened and int(shortened[2]) < int(shortened[1]) < STREAMED:
        raise BadClip(f"truncated ({shortened[2]} of {shortened[1]} bytes)")
    return samples, file.samplerate


def trim(wave: Waveform, top_db: float, frame: int = 2048, hop: int = 512) -> Waveform:
    """Cuts leading and trailing frames that lie `top_db` below the loudest; frames as librosa.effects.trim has them."""
    padded = np.zeros(len(wave) + frame, np.float32)
    padded[frame // 2 : frame // 2 + len(wave)] = wave
    blocks = padded[: len(padded) // hop * hop].reshape(-1, hop)
    hops = np.einsum("ij,ij->i", blocks, blocks)  # energy of each hop, shared by the frames that overlap there
    power = np.convolve(hops, np.ones(frame // hop, np.float32), "valid")
    loud = np.flatnonzero(power > power.max() * 10 ** (-top_db / 10))
    return wave[loud[0] * hop : min(len(wave), (loud[-1] + 1) * hop)]


def load(path: Path, settings: Audio) -> Waveform:
    """The clip as every feature hears it: (samples,) float32 at `settings.sample_rate` Hz."""
    wave, rate = decode(path)
    if settings.trim_db is not None:
        wave = trim(wave, settings.trim_db)
    if len(wave) < settings.min_seconds * rate:
        raise BadClip(f"too short ({len(wave) / rate:.3f} s after trimming, {settings.min_seconds} s needed)")
    wave = wave if rate == settings.sample_rate else soxr.resample(wave, rate, settings.sample_rate)
    if len(wave) == 0:
        raise BadClip("no samples")
    return wave
