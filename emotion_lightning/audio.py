"""Audio files → mono waveforms at one rate: decode, downmix, remove DC, trim, resample.

DC goes first, since an offset (SAVEE has 3–4 % of full scale) would hide silence from the trimming. Trimming comes
before resampling, since it saves work and needs no exact rate.
"""

from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from emotion_lightning.experiment import Audio

Waveform = NDArray[np.float32]

SUFFIXES = {".wav", ".flac", ".ogg", ".mp3", ".aiff", ".au"}  # what libsndfile reads and people have
SILENT_PEAK = 1e-4  # -80 dBFS; the quietest clip of RAVDESS (-64 dBFS RMS) peaks far above


class BadClip(Exception):
    """A file that cannot be heard as a clip; the message says why."""


def decode(path: Path) -> tuple[Waveform, int]:
    """(samples,) mono in -1…1 without DC, and its rate in Hz. Raises BadClip for anything that is not whole audio."""
    try:
        with soundfile.SoundFile(path) as file:
            promised, rate = file.frames, file.samplerate
            samples = file.read(dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        size = path.stat().st_size if path.exists() else None
        raise BadClip("missing" if size is None else "empty file" if size == 0 else f"corrupt ({error})") from None
    if len(samples) < promised:
        raise BadClip(f"truncated ({len(samples)} of {promised} samples)")
    if len(samples) == 0:
        raise BadClip("no samples")
    mono = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    if not np.isfinite(mono).all():
        raise BadClip("samples that are not numbers (NaN or infinite)")
    mono = mono - mono.mean()
    if (peak := float(np.abs(mono).max())) < SILENT_PEAK:
        raise BadClip(f"silent (peak {20 * np.log10(max(peak, 1e-9)):.0f} dBFS)")
    return mono, rate


def trim(wave: Waveform, top_db: float, frame: int = 2048, hop: int = 512) -> Waveform:
    """Cuts leading and trailing frames that lie `top_db` below the loudest; frames as librosa.effects.trim has them."""
    padded = np.pad(wave, frame // 2)
    # (frames, frame / hop, hop): sums over whole hops are shared by the frames that overlap there
    hops = np.square(padded[: len(padded) // hop * hop].reshape(-1, hop)).sum(axis=1)
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
    return wave if rate == settings.sample_rate else soxr.resample(wave, rate, settings.sample_rate)
