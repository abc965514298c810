"""Damaged sound files from a seeded generator, each with what a reader must make of it.

What is known of a file comes from the samples that were written and from the layout of its header, never from a decoder.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from emotion_lightning.corpora import demo

Generator = np.random.Generator
Samples = NDArray[np.float64]

RATES = 1_000, 768_000  # Hz that are possible
LOSSLESS = {  # name: (suffix, libsndfile's format and subtype, bytes before the first sample)
    "wav": (".wav", "WAV", "PCM_16", 44),
    "wav24": (".wav", "WAV", "PCM_24", 44),
    "aiff": (".aiff", "AIFF", "PCM_16", 54),
    "flac": (".flac", "FLAC", "PCM_16", 0),
}
LOSSY = {
    "ogg": (".ogg", "OGG", "VORBIS"),
    "opus": (".opus", "OGG", "OPUS"),
    "mp3": (".mp3", "MP3", "MPEG_LAYER_III"),
}
READ, REFUSED, LENGTH, EITHER = "read", "refused", "right length or refused", "read or refused"


@dataclass(frozen=True)
class Case:
    """A file and what must become of it. `samples` (N,): the mean of its channels, `rate` in Hz; not for the other two.

    `slack`: by how many samples the length may differ, since a lossy encoder adds some at the ends.
    """

    kind: str
    suffix: str
    content: bytes
    wanted: str
    samples: Samples | None = None
    rate: int = 0
    slack: int = 0

    def fault(self, wave: NDArray[np.float32] | None, rate: int, reason: str) -> str:
        """Returns what is wrong with what a reader made of it: a waveform (N,) without DC, or a reason; "" if it is right."""
        if wave is None:
            if not reason or "\n" in reason:
                return f"the reason is not one line: {reason!r}"
            return f"refused ({reason})" if self.wanted == READ else ""
        if self.wanted == REFUSED:
            return f"read, {len(wave)} samples at {rate} Hz"
        if not np.isfinite(wave).all() or not len(wave):
            return "samples that are not numbers, or none"
        if self.samples is None:
            return ""
        if rate != self.rate or abs(len(wave) - len(self.samples)) > self.slack:
            return f"{len(wave)} samples at {rate} Hz, not {len(self.samples)} at {self.rate} Hz"
        if (
            self.wanted == READ
            and not self.slack
            and np.abs(wave - (self.samples - self.samples.mean())).max() > 1e-4
        ):
            return "other samples than were written"
        return ""


class Sounds:
    """The undamaged originals, and `case(number)`: the same file for the same seed and number, in any process."""

    def __init__(self, folder: Path, seed: int):
        self.seed = seed
        voices = demo.prepare(folder, speakers=1, takes=1)
        files = sorted(voices.rglob("*.wav"))[::9]
        self.voices = [soundfile.read(file)[0] for file in files]
        self.rate = soundfile.info(files[0]).samplerate
        self.written: dict[tuple[str, int], bytes] = {}

    def case(self, number: int) -> Case:
        """Returns a file of the kind KINDS[number % …]."""
        return KINDS[number % len(KINDS)](self, np.random.default_rng([self.seed, number]))

    def original(self, name: str, voice: int) -> bytes:
        """Returns a voice as a file of a format, as libsndfile writes it."""
        if (name, voice) not in self.written:
            _, form, subtype = (LOSSLESS.get(name) or LOSSY[name])[:3]
            self.written[name, voice] = written(self.voices[voice], self.rate, form, subtype)
        return self.written[name, voice]


def written(samples: Samples, rate: int, form: str, subtype: str) -> bytes:
    """Returns a sound file as libsndfile writes it."""
    out = BytesIO()
    soundfile.write(out, samples, rate, format=form, subtype=subtype)
    return out.getvalue()


def _any(random: Generator, names: Any) -> str:
    return str(random.choice(sorted(names)))


def _voice(sounds: Sounds, random: Generator) -> int:
    return int(random.integers(len(sounds.voices)))


def _flipped(content: bytes, first: int, last: int, random: Generator) -> bytearray:
    """Returns the bytes with one to sixteen bits flipped from `first` to before `last`."""
    changed = bytearray(content)
    for _ in range(int(2 ** random.integers(5))):
        changed[int(random.integers(first, last))] ^= 1 << int(random.integers(8))
    return changed


def whole(sounds: Sounds, random: Generator) -> Case:
    name, voice = _any(random, LOSSLESS | LOSSY), _voice(sounds, random)
    suffix = (LOSSLESS.get(name) or LOSSY[name])[0]
    content, samples = sounds.original(name, voice), sounds.voices[voice]
    return Case(f"undamaged {name}", suffix, content, READ, samples, sounds.rate, 3_000 * (name in LOSSY))


def under_wav(sounds: Sounds, random: Generator) -> Case:
    """Another format whose name ends in .wav is read by what is in it."""
    case = whole(sounds, random)
    return Case(f"{case.kind[10:]} under .wav", ".wav", *list(vars(case).values())[2:])


def cut(sounds: Sounds, random: Generator) -> Case:
    name = _any(random, LOSSLESS | LOSSY)
    suffix = (LOSSLESS.get(name) or LOSSY[name])[0]
    content = sounds.original(name, _voice(sounds, random))
    end = int(random.integers(len(content)))
    if name in ("ogg", "opus") and content[end : end + 4].startswith(b"OggS"[: len(content) - end]):
        return Case("cut between two pages", suffix, content[:end], EITHER)
    return Case(f"cut {name}", suffix, content[:end], REFUSED if name != "mp3" else EITHER)


def payload(sounds: Sounds, random: Generator) -> Case:
    """Flipped bits of samples: in a file without compression, these samples are others and all the rest is as before."""
    name, voice = _any(random, ("wav", "wav24", "aiff")), _voice(sounds, random)
    suffix, _, _, header = LOSSLESS[name]
    content = sounds.original(name, voice)
    changed = _flipped(content, header, header + len(sounds.voices[voice]) * (3 if name == "wav24" else 2), random)
    raw = changed[header:]
    if name == "wav24":
        triples = np.frombuffer(raw[: len(raw) // 3 * 3], np.uint8).reshape(-1, 3).astype(np.int64)
        numbers = (triples * [1, 256, 65_536]).sum(1)
        samples = (numbers - (numbers >= 2**23) * 2**24) / 2**23
    else:
        samples = np.frombuffer(raw[: len(raw) // 2 * 2], ">i2" if name == "aiff" else "<i2") / 2**15
    samples = samples[: len(sounds.voices[voice])]
    return Case(f"bits flipped in the samples of {name}", suffix, bytes(changed), READ, samples, sounds.rate)


def packed_payload(sounds: Sounds, random: Generator) -> Case:
    """Flipped bits of compressed sound: FLAC and Ogg have checksums, so the file is refused; MP3 has none."""
    name, voice = _any(random, ("flac", *LOSSY)), _voice(sounds, random)
    suffix = (LOSSLESS.get(name) or LOSSY[name])[0]
    content = sounds.original(name, voice)
    start = {"flac": 8_400, "mp3": 1_000}.get(name, 5_000)  # behind tables and comments
    changed = bytes(_flipped(content, min(start, len(content) // 2), len(content), random))
    kind = f"bits flipped in the frames of {name}"
    if changed == content:  # twice the same bit
        return Case(kind, suffix, changed, EITHER)
    return Case(kind, suffix, changed, EITHER if name == "mp3" else REFUSED)


def headers(sounds: Sounds, random: Generator) -> Case:
    name = _any(random, LOSSLESS | LOSSY)
    suffix = (LOSSLESS.get(name) or LOSSY[name])[0]
    changed = _flipped(sounds.original(name, _voice(sounds, random)), 0, 128, random)
    return Case(f"bits flipped in the header of {name}", suffix, bytes(changed), EITHER)


def anywhere(sounds: Sounds, random: Generator) -> Case:
    """A stretch of the file becomes noise, zeros, another part of it, or is missing or doubled."""
    name = _any(random, LOSSLESS | LOSSY)
    suffix = (LOSSLESS.get(name) or LOSSY[name])[0]
    content = sounds.original(name, _voice(sounds, random))
    first, last = sorted(int(i) for i in random.integers(len(content), size=2))
    size = last - first
    at = int(random.integers(len(content)))
    stretch = random.choice([0, 1, 2, 3, 4])
    middle = [random.bytes(size), bytes(size), content[at : at + size], b"", 2 * content[first:last]][stretch]
    return Case(f"a stretch of {name} replaced", suffix, content[:first] + middle + content[last:], EITHER)


def rate(sounds: Sounds, random: Generator) -> Case:
    voice = _voice(sounds, random)
    content = bytearray(sounds.original("wav", voice))
    limits = [0, 1, 7, 999, 1_000, 8_000, 44_100, 768_000, 768_001, 10_000_000, 2**31 - 1, 2**31, 2**32 - 1]
    hertz = int(random.choice(limits))
    content[24:28] = struct.pack("<I", hertz)
    is_possible = RATES[0] <= hertz <= RATES[1]
    samples = sounds.voices[voice] if is_possible else None
    return Case(f"a rate of {hertz} Hz", ".wav", bytes(content), READ if is_possible else REFUSED, samples, hertz)


def fields(sounds: Sounds, random: Generator) -> Case:
    """Fields of a WAV's header: format, channels, bytes a second, block, bits, sizes of RIFF, of `fmt ` and of `data`."""
    content = bytearray(sounds.original("wav", _voice(sounds, random)))
    for _ in range(int(random.integers(1, 4))):
        at, form = [(20, "<H"), (22, "<H"), (28, "<I"), (32, "<H"), (34, "<H"), (4, "<I"), (16, "<I"), (40, "<I")][
            int(random.integers(8))
        ]
        values = [0, 1, 2, 3, 6, 8, 64, 1024, 32_767, 65_534, 65_535]
        if form == "<I":
            values += [2**31 - 1, 2**31, 2**32 - 1, len(content), len(content) - 1]
        struct.pack_into(form, content, at, int(random.choice(values)))
    return Case("fields of a WAV's header overwritten", ".wav", bytes(content), EITHER)


def flac_fields(sounds: Sounds, random: Generator) -> Case:
    """Block sizes, rate, channels, bits and number of samples of a FLAC."""
    content = bytearray(sounds.original("flac", _voice(sounds, random)))
    first = int(random.integers(8, 26))
    content[first:26] = random.bytes(26 - first)
    if random.random() < 0.5:  # a number of samples that no memory could hold
        content[21] |= int(random.integers(1, 16))
    return Case("fields of a FLAC's header overwritten", ".flac", bytes(content), EITHER)


def many_channels(sounds: Sounds, random: Generator) -> Case:
    voice, channels = _voice(sounds, random), int(random.choice([2, 6, 64, 255, 1024]))
    samples = sounds.voices[voice]
    several = samples[:, None] * random.uniform(0.5, 1, channels)
    content = written(several, sounds.rate, "WAV", "FLOAT")
    return Case(f"{channels} channels", ".wav", content, READ, several.mean(1), sounds.rate)


def numbers(sounds: Sounds, random: Generator) -> Case:
    """One sample of a file of floats is no number, or far too large; or all are."""
    samples = sounds.voices[_voice(sounds, random)].copy()
    value = float(random.choice([np.nan, np.inf, -np.inf, 3e38, -1e30, 1e20, 32_768.0]))
    first = int(random.integers(len(samples)))
    samples[first : first + int(random.choice([1, 100, len(samples)]))] = value
    form, subtype = [("WAV", "FLOAT"), ("WAV", "DOUBLE"), ("AIFF", "FLOAT"), ("CAF", "FLOAT")][
        int(random.integers(4))
    ]
    kind = f"samples of {value:g}"
    return Case(kind, f".{form.lower()}", written(samples, sounds.rate, form, subtype), REFUSED)


def no_sound(sounds: Sounds, random: Generator) -> Case:
    starts = [
        b"",
        b"RIFF",
        b"fLaC",
        b"OggS",
        b"ID3",
        b"FORM",
        b"PK\x03\x04",
        b"%PDF-1.7\n",
        b"\x89PNG\r\n",
        b"<html>",
    ]
    content = starts[int(random.integers(len(starts)))] + random.bytes(int(random.choice([0, 1, 44, 4_000])))
    suffix = str(random.choice([".wav", ".flac", ".ogg", ".mp3", ".aiff", ".caf", ".w64", ".au"]))
    return Case("something else", suffix, content, REFUSED if len(content) < 44 else EITHER)


def chunks(sounds: Sounds, random: Generator) -> Case:
    """Chunks before the samples: many, of odd size, without content; or one whose size is a lie."""
    voice = _voice(sounds, random)
    content = sounds.original("wav", voice)
    sizes = [int(size) for size in random.choice([0, 1, 2, 3, 999], int(random.choice([1, 3, 500])))]
    extra = b"".join(b"junk" + struct.pack("<I", size) + bytes(size + size % 2) for size in sizes)
    if random.random() < 0.3:
        lie = b"LIST" + struct.pack("<I", int(random.choice([2**31 - 1, 2**31, 2**32 - 1]))) + b"INFO"
        return Case("a chunk whose size is a lie", ".wav", content[:36] + lie + content[36:], EITHER)
    changed = b"RIFF" + struct.pack("<I", len(content) + len(extra) - 8) + content[8:36] + extra + content[36:]
    wanted = READ if len(sizes) < 500 else LENGTH  # libsndfile gives up after some hundred chunks
    return Case(f"{len(sizes)} chunks before the samples", ".wav", changed, wanted, sounds.voices[voice], sounds.rate)


def joined(sounds: Sounds, random: Generator) -> Case:
    """Something follows the file: another file, or bytes."""
    name, voice = _any(random, ("wav", "aiff")), _voice(sounds, random)
    behind = [sounds.original(_any(random, LOSSLESS), 0), random.bytes(1_001), bytes(7)][int(random.integers(3))]
    content = sounds.original(name, voice) + behind
    wanted = LENGTH if behind[:4] in (b"RIFF", b"FORM") else READ  # libsndfile knows no second file in a file
    return Case(f"bytes behind {name}", LOSSLESS[name][0], content, wanted, sounds.voices[voice], sounds.rate)


KINDS: list[Callable[[Sounds, Generator], Case]] = [
    *(whole, cut, payload, packed_payload, headers, anywhere, rate, fields, flac_fields),
    *(cut, packed_payload, headers, anywhere, fields, many_channels, numbers, no_sound, chunks, joined, under_wav),
]
