"""Synthesises voices with a source-filter model (Fant 1960, Acoustic Theory of Speech Production), 16 kHz, in batches.

The source is the harmonics of a gliding f0 with jitter and spectral tilt, and breath noise. The filter is the resonances of
a vocal tract that moves from vowel to vowel, applied to the short-time spectrum of the source frame by frame. In a consonant
the voice is weaker, with a burst of noise. A text is syllables in phonetic letters, "kɪ ɑ bɑɪ": at most one consonant, a
vowel, and a second vowel in a diphthong. Slow parameters have one value for each HOP samples: (B, T).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import tau

import torch
from torch import Tensor
from torch.nn import functional as F

RATE = 16_000  # Hz
WINDOW, HOP = 512, 128  # samples: 32 ms, much shorter than a syllable (200 ms), longer than a formant's decay (10 ms)
SILENCE = 0.06  # s before and after the speech
ONSET = 0.3  # share of a syllable that its consonant takes
FLOOR = -66.0  # dBFS, noise of the recording, so that no clip has digital silence
PEAK = 0.95  # of full scale; louder clips are attenuated

# F1, F2, F3 in Hz: means of the men in Hillenbrand et al. 1995, doi:10.1121/1.411872; the women's are × 1.17.
VOWELS = {
    "i": (342, 2322, 3000), "ɪ": (427, 2034, 2684), "ɛ": (580, 1799, 2605), "æ": (588, 1952, 2601),
    "ɑ": (768, 1333, 2522), "ɔ": (652, 997, 2538), "o": (497, 910, 2459), "ʊ": (469, 1122, 2434),
    "u": (378, 997, 2343), "ʌ": (623, 1200, 2550), "ɝ": (474, 1379, 1710),
}  # fmt: skip
UPPER = (3500, 4500, 5500, 6500, 7500)  # Hz: F4 and above are the resonances of a uniform tube of 17.5 cm
FRICATIVE = 4500  # Hz, where the noise of consonants is strongest

# During a consonant: gain of the voice, gain of the noise, and its share before the burst.
CONSONANTS = {
    "": (1.0, 0.0, 0.0), "m": (0.5, 0.0, 0.0), "w": (0.6, 0.0, 0.0), "b": (0.15, 0.05, 0.7), "d": (0.15, 0.1, 0.7),
    "ð": (0.4, 0.08, 0.0), "k": (0.0, 0.25, 0.6), "t": (0.0, 0.35, 0.6), "f": (0.0, 0.15, 0.0), "s": (0.0, 0.5, 0.0),
}  # fmt: skip


@dataclass(frozen=True)
class Voice:
    """The voices of B clips. Each field is (B,), all on one device."""

    pitch: Tensor  # Hz, the middle of the contour
    accent: Tensor  # semitones, standard deviation of the syllables' pitches
    slope: Tensor  # semitones from the first syllable to the last; below zero is declination
    jitter: Tensor  # share of f0, standard deviation from frame to frame
    rate: Tensor  # syllables a second
    level: Tensor  # dBFS, root mean square from the first syllable to the last
    tilt: Tensor  # dB an octave by which the harmonics fall, lip radiation included
    breath: Tensor  # dB of breath noise against the harmonics, before the filter
    tract: Tensor  # factor on all formants: 1 is a man's, 1.17 a woman's


def speak(voice: Voice, texts: Sequence[str], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Returns waveforms (B, samples) within ±PEAK, zero after the end of a clip, and their lengths (B,) in samples."""
    time, now, within, end = _timing(voice, texts, generator)
    samples = (time.shape[1] - 1) * HOP  # the number for T centred frames
    source = _harmonics(_stretch(_pitch(voice, time / end, now, generator), samples), voice.tilt)
    breath = _noise((len(texts), samples), generator, time)
    formants, voiced, hissing = _articulation(texts, now, within)
    tract = _filter(formants, voice.tract[:, None]) * voiced[:, None]
    burst = hissing[:, None] / _damping(FRICATIVE * voice.tract[:, None], FRICATIVE / 2)
    spectrum = _spectrum(source) * tract + _spectrum(breath) * (tract * _gain(voice.breath)[..., None] + burst)
    wave = torch.istft(spectrum, WINDOW, HOP, window=torch.hann_window(WINDOW, device=time.device), length=samples)
    wave *= _gain(voice.level) * (end * RATE / wave.square().sum(1, keepdim=True)).sqrt()
    wave += _noise((len(texts), samples), generator, time) * 10 ** (FLOOR / 20)
    wave *= (PEAK / wave.abs().amax(1, keepdim=True)).clamp(max=1)
    lengths = ((end[:, 0] + 2 * SILENCE) * RATE).long()
    return wave * (torch.arange(samples, device=time.device) < lengths[:, None]), lengths


def _timing(voice: Voice, texts: Sequence[str], generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns for each frame (B, T) its time in s after the start of speech, its syllable, and its position in the syllable.

    The position is 0 to 1, and outside this range in silence. Also returns the end of the last syllable (B, 1) in s.
    """
    count = torch.tensor([len(text.split()) for text in texts], device=voice.rate.device)[:, None]
    number = torch.arange(int(count.max()), device=voice.rate.device)
    spread = torch.exp(0.15 * _noise((len(texts), len(number)), generator, voice.rate))
    drawn_out = 1 + 0.3 * (number == count - 1)  # the last syllable of a phrase is longer
    seconds = spread * drawn_out * (number < count) / voice.rate[:, None]
    ends = seconds.cumsum(1)
    frames = int((float(ends.max()) + 2 * SILENCE) * RATE) // HOP + 2
    time = (torch.arange(frames, device=ends.device) * (HOP / RATE) - SILENCE).repeat(len(texts), 1)
    now = torch.searchsorted(ends, time, right=True).minimum(count - 1)
    return time, now, 1 - (ends.gather(1, now) - time) / seconds.gather(1, now), ends[:, -1:]


def _pitch(voice: Voice, progress: Tensor, now: Tensor, generator: torch.Generator) -> Tensor:
    """Returns f0 (B, T) in Hz, with an accent on each syllable, a slope over the phrase, and jitter."""
    accents = _noise((len(now), int(now.max()) + 1), generator, progress).gather(1, now)
    semitones = voice.accent[:, None] * _smooth(accents, 0.12) + voice.slope[:, None] * (progress.clamp(0, 1) - 0.5)
    shaken = 1 + voice.jitter[:, None] * _noise((len(now), now.shape[1]), generator, progress)
    return voice.pitch[:, None] * 2 ** (semitones / 12) * shaken


def _articulation(texts: Sequence[str], now: Tensor, within: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the formants (B, T, 3) of a man in Hz, the gain (B, T) of the voice, and that of the consonants' noise."""
    vowels, consonants = [], []
    for text in texts:
        spoken = text.split()
        spoken += spoken[-1:] * (int(now.max()) + 1 - len(spoken))  # fills up shorter texts; no frame uses it
        vowels.append([(VOWELS[s[0] if s[0] in VOWELS else s[1]], VOWELS[s[-1]]) for s in spoken])
        consonants.append([CONSONANTS["" if s[0] in VOWELS else s[0]] for s in spoken])
    row = torch.arange(len(texts), device=now.device)[:, None]
    formants = torch.tensor(vowels, dtype=torch.float32, device=now.device)[row, now, (within > 0.6).long()]
    level, noise, closed = torch.tensor(consonants, device=now.device)[row, now].unbind(2)
    speaking, onset = (within >= 0) & (within <= 1), within < ONSET
    voiced = _smooth(speaking * torch.where(onset, level, 1.15 - 0.6 * within), 0.035)
    hissing = _smooth(speaking * onset * (within >= ONSET * closed) * noise, 0.02)
    return _smooth(formants.transpose(1, 2), 0.09).transpose(1, 2), voiced, hissing


def _harmonics(f0: Tensor, tilt: Tensor) -> Tensor:
    """Returns (B, samples) of unit power. Harmonics fall by `tilt` dB an octave and stay below half the sample rate."""
    turn = tau * ((f0 / RATE).cumsum(1) % 1)
    wave, highest = torch.zeros_like(f0), f0.amax(1)
    for k in range(1, int(RATE / 2 / f0.min()) + 1):
        amplitude = k ** (-tilt / 6.02) * (k * highest < RATE / 2)  # 6.02 dB an octave is amplitude 1 / k
        wave.addcmul_(torch.sin(k * turn), amplitude[:, None])
    return wave / wave.square().mean(1, keepdim=True).sqrt()


def _filter(formants: Tensor, tract: Tensor) -> Tensor:
    """Returns the response (B, bins, T) of the vocal tract. Bandwidths grow from 60 Hz (F1) to 340 Hz (Fant)."""
    upper = torch.tensor(UPPER, device=tract.device) * tract
    damping = _damping(upper, 40 + 0.04 * upper).prod(2, keepdim=True)
    for formant in (formants * tract[..., None]).unbind(2):
        damping = damping * _damping(formant, 40 + 0.04 * formant)
    return damping.reciprocal()


def _damping(frequency: Tensor, bandwidth: Tensor | float) -> Tensor:
    """Returns the inverse response (B, bins, T) of a resonator at (B, T) Hz. It is 1 far below the resonance."""
    f = torch.linspace(0, RATE / 2, WINDOW // 2 + 1, device=frequency.device)[:, None]
    x = f / frequency[:, None]
    return torch.complex(1 - x * x, x * (bandwidth / frequency)[:, None])


def _spectrum(wave: Tensor) -> Tensor:
    window = torch.hann_window(WINDOW, device=wave.device)
    return torch.stft(wave, WINDOW, HOP, window=window, return_complex=True)  # (B, bins, T)


def _noise(shape: tuple[int, int], generator: torch.Generator, like: Tensor) -> Tensor:
    """Draws normal noise on the generator's device, so that a generator on the CPU gives every device the same voice."""
    return torch.randn(shape, generator=generator, device=generator.device).to(like.device)


def _smooth(track: Tensor, seconds: float) -> Tensor:
    """Takes the moving average over `seconds` along the last axis, because the mouth moves slowly."""
    half = max(1, round(seconds * RATE / HOP / 2))
    return F.avg_pool1d(F.pad(track, (half, half), mode="replicate"), 2 * half + 1, stride=1)


def _stretch(track: Tensor, samples: int) -> Tensor:
    return F.interpolate(track[:, None], size=samples, mode="linear", align_corners=True)[:, 0]


def _gain(decibels: Tensor) -> Tensor:
    return 10 ** (decibels[:, None] / 20)  # (B, 1)
