"""Decoding, trimming and resampling against soundfile's input, librosa and scipy; bad clips say what is wrong."""

import re
from collections.abc import Callable
from pathlib import Path

import librosa
import numpy as np
import pytest
import scipy.signal
import soundfile
from conftest import hiss, tone

from emotion_lightning.config.schema import Audio
from emotion_lightning.corpora import DECODED
from emotion_lightning.data import audio
from emotion_lightning.data.audio import BadClip

UNTRIMMED = Audio(trim_db=None)
RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000)
FORMATS = {  # file, libsndfile's subtype, the largest rounding error
    "wav8": ("clip.wav", "PCM_U8", 2**-7),
    "wav16": ("clip.wav", "PCM_16", 2**-15),
    "wav24": ("clip.wav", "PCM_24", 2**-22),
    "wav32": ("clip.wav", "PCM_32", 1e-6),
    "float": ("clip.wav", "FLOAT", 1e-6),
    "double": ("clip.wav", "DOUBLE", 1e-6),
    "upper case": ("CLIP.WAV", "PCM_16", 2**-15),
    "flac16": ("clip.flac", "PCM_16", 2**-15),
    "flac24": ("clip.flac", "PCM_24", 2**-22),
}


def real_clips(folder: Path) -> list[Path]:
    """Every 60th clip of RAVDESS, every 30th of SAVEE: 24 and 16, all SAVEE speakers."""
    return [*sorted(folder.glob("ravdess/*/*.flac"))[::60], *sorted(folder.glob("savee/ALL/*.flac"))[::30]]


@pytest.mark.parametrize(("name", "subtype", "error"), FORMATS.values(), ids=FORMATS)
def test_every_sample_format_is_decoded_to_the_same_wave(
    name: str, subtype: str, error: float, write_wav: Callable[..., Path]
) -> None:
    wave = hiss(0.2)
    decoded, rate = audio.decode(write_wav(name, wave, subtype=subtype))
    assert rate == 16_000
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, wave - wave.mean(), atol=error)


@pytest.mark.parametrize("rate", RATES)
def test_decoding_keeps_the_files_rate_and_every_sample(rate: int, write_wav: Callable[..., Path]) -> None:
    decoded, found = audio.decode(write_wav("clip.wav", tone(500, 0.3, rate), rate))
    assert (found, len(decoded)) == (rate, round(0.3 * rate))


def test_a_stereo_clip_is_downmixed_to_the_mean_of_its_channels(write_wav: Callable[..., Path]) -> None:
    left, right = tone(300, 0.2), tone(1_000, 0.2, level=0.1)
    decoded, _ = audio.decode(write_wav("clip.wav", np.stack([left, right], 1)))
    assert decoded.shape == left.shape
    mean = (left + right) / 2
    np.testing.assert_allclose(decoded, mean - mean.mean(), atol=2**-15)


def test_channels_that_cancel_each_other_give_one_of_them(write_wav: Callable[..., Path]) -> None:
    """A balanced line recorded as stereo, or a broken cable."""
    wave = tone(440)
    mono, _ = audio.decode(write_wav("mono.wav", wave))
    stereo, _ = audio.decode(write_wav("stereo.wav", np.stack([wave, -wave], 1)))
    np.testing.assert_allclose(np.abs(stereo), np.abs(mono), atol=1e-4)


@pytest.mark.parametrize("suffix", sorted(DECODED))
def test_every_format_of_a_users_clips_is_decoded(suffix: str, tmp_path: Path) -> None:
    kinds = {".ogg": "OGG", ".oga": "OGG", ".opus": "OGG", ".mp3": "MP3", ".au": "AU", ".snd": "AU", ".caf": "CAF"}
    kinds |= {".w64": "W64", ".wav": "WAV", ".flac": "FLAC", ".aiff": "AIFF", ".aif": "AIFF", ".aifc": "AIFF"}
    subtype = {".opus": "OPUS", ".mp3": "MPEG_LAYER_III"}.get(suffix)
    soundfile.write(tmp_path / f"x{suffix}", tone(440), 16_000, format=kinds[suffix], subtype=subtype)
    wave, rate = audio.decode(tmp_path / f"x{suffix}")
    assert 15_000 < len(wave) < 18_000 and rate == 16_000 and np.abs(wave).max() > 0.2


def test_two_equal_channels_are_the_same_as_one(write_wav: Callable[..., Path]) -> None:
    wave = tone(300, 0.2)
    mono, _ = audio.decode(write_wav("mono.wav", wave))
    stereo, _ = audio.decode(write_wav("stereo.wav", np.stack([wave, wave], 1)))
    np.testing.assert_array_equal(mono, stereo)


@pytest.mark.parametrize("offset", [0.04, -0.5])
def test_a_dc_offset_is_removed(offset: float, write_wav: Callable[..., Path]) -> None:
    wave = tone(400, 0.5)  # whole periods: it has no offset of its own
    decoded, _ = audio.decode(write_wav("clip.wav", wave + offset))
    assert abs(decoded.mean(dtype=np.float64)) < 1e-6
    np.testing.assert_allclose(decoded, wave, atol=2**-14)


@pytest.mark.parametrize("rate", RATES)
def test_a_resampled_clip_has_the_right_length_pitch_and_level(rate: int, write_wav: Callable[..., Path]) -> None:
    wave = audio.load(write_wav("clip.wav", tone(1_234, 0.7, rate), rate), UNTRIMMED)
    assert wave.dtype == np.float32
    assert abs(len(wave) - 0.7 * 16_000) <= 1
    middle = wave[2_000:-2_000] * np.hanning(len(wave) - 4_000)
    spectrum = np.abs(np.fft.rfft(middle, 2**18))  # padded: bins of 0.06 Hz
    assert spectrum.argmax() * 16_000 / 2**18 == pytest.approx(1_234, abs=0.2)
    assert np.abs(wave[2_000:-2_000]).max() == pytest.approx(0.3, rel=0.01)


@pytest.mark.parametrize(("rate", "up", "down"), [(8_000, 2, 1), (48_000, 1, 3), (44_100, 160, 441)])
def test_resampling_agrees_with_scipy_where_both_filters_pass(
    rate: int, up: int, down: int, write_wav: Callable[..., Path]
) -> None:
    wave = sum(tone(hertz, 0.5, rate, 0.1) for hertz in (150, 700, 1_900))
    path = write_wav("clip.wav", wave, rate, "FLOAT")
    ours, theirs = audio.load(path, UNTRIMMED), scipy.signal.resample_poly(wave, up, down, window=("kaiser", 12.0))
    assert abs(len(ours) - len(theirs)) <= 1
    # the two filters differ by 1 % at most (scipy's is short); a shift of one sample would be an error of 0.1
    np.testing.assert_allclose(ours[500:-500], theirs[500 : len(ours) - 500], atol=0.005)


def test_what_is_above_half_the_target_rate_does_not_fold_back(write_wav: Callable[..., Path]) -> None:
    low, high = tone(1_000, 0.5, 48_000, 0.1), tone(11_000, 0.5, 48_000, 0.4)
    wave = audio.load(write_wav("clip.wav", low + high, 48_000, "FLOAT"), UNTRIMMED)
    spectrum = np.abs(np.fft.rfft(wave[1_000:-1_000] * np.blackman(len(wave) - 2_000)))
    folded = round(5_000 / 16_000 * (len(wave) - 2_000))
    assert spectrum[folded - 10 : folded + 10].max() < 1e-4 * spectrum.max()


def quiet(seconds: float, rate: int = 16_000) -> np.ndarray:
    return np.zeros(round(seconds * rate))


def faint(level_db: float) -> np.ndarray:
    """A tone at 0 dB with one at `level_db` before and after it."""
    low = tone(300, 0.4, level=0.5 * 10 ** (level_db / 20))
    return np.concatenate([quiet(0.3), low, tone(300, 0.4, level=0.5), low, quiet(0.3)])


SIGNALS = {
    "silence at both ends": np.concatenate([quiet(0.31), tone(440, 0.8), quiet(0.57)]),
    "silence before": np.concatenate([quiet(0.9), hiss(0.4)]),
    "silence behind": np.concatenate([hiss(0.4), quiet(0.9)]),
    "a gap in the middle": np.concatenate([quiet(0.2), hiss(0.2), quiet(0.6), hiss(0.2), quiet(0.2)]),
    "nothing to trim": hiss(1.0),
    "faint at -50 dB": faint(-50),
    "faint at -70 dB": faint(-70),
    "a slow swell": hiss(1.5) * np.exp(np.linspace(-12, 0, 24_000)),
    "a click": np.concatenate([quiet(0.4), [0.5], quiet(0.4)]),
    "shorter than a frame": np.concatenate([quiet(0.02), tone(440, 0.05), quiet(0.02)]),
    "at 48 kHz": np.concatenate([quiet(0.5, 48_000), tone(440, 0.5, 48_000), quiet(0.5, 48_000)]),
}


def librosa_bounds(wave: np.ndarray) -> tuple[int, int]:
    """Where librosa trims. In a wave of peak 1, since it takes no level below -100 dBFS for less than -100 dBFS and so
    trims quiet clips too little."""
    _, (start, end) = librosa.effects.trim(wave / np.abs(wave).max(), top_db=60)
    return int(start), int(end)


@pytest.mark.parametrize("wave", SIGNALS.values(), ids=SIGNALS)
def test_trimming_is_librosas(wave: np.ndarray) -> None:
    wave = wave.astype(np.float32)
    start, end = librosa_bounds(wave)
    np.testing.assert_array_equal(audio.trim(wave, 60), wave[start:end])


@pytest.mark.real
def test_trimming_is_librosas_on_real_clips(real_corpora: Path) -> None:
    """To the sample. Only a frame within float32's rounding of the threshold could differ, and none of these is."""
    trimmed = 0
    for path in real_clips(real_corpora):
        wave, _ = audio.decode(path)
        start, end = librosa_bounds(wave)
        np.testing.assert_array_equal(audio.trim(wave, 60), wave[start:end], err_msg=path.name)
        trimmed += end - start < len(wave)
    assert trimmed > 0


def test_trimming_does_not_depend_on_the_level() -> None:
    wave = SIGNALS["a slow swell"].astype(np.float32)
    assert len(audio.trim(wave, 60)) < len(wave)
    for gain in (2**-12, 2**3):  # powers of two scale floats exactly
        np.testing.assert_array_equal(audio.trim(wave * np.float32(gain), 60), audio.trim(wave, 60) * gain)


def test_a_smaller_top_db_trims_more() -> None:
    wave = SIGNALS["a slow swell"].astype(np.float32)
    lengths = [len(audio.trim(wave, top_db)) for top_db in (20, 40, 60, 200)]
    assert lengths == sorted(set(lengths))
    assert lengths[-1] == len(wave)


def test_silence_with_a_dc_offset_is_trimmed(write_wav: Callable[..., Path]) -> None:
    """SAVEE's offset is 3 to 4 % of full scale, far above -60 dB."""
    path = write_wav("clip.wav", SIGNALS["silence at both ends"] + 0.04)
    # the tone lasts 0.8 s, the frames of 2048 samples that touch it reach one frame further at either end
    assert 0.8 <= len(audio.load(path, Audio())) / 16_000 <= 0.8 + 2 * 2048 / 16_000


def test_no_trimming_keeps_the_whole_clip(write_wav: Callable[..., Path]) -> None:
    path = write_wav("clip.wav", SIGNALS["silence at both ends"])
    assert len(audio.load(path, UNTRIMMED)) == len(SIGNALS["silence at both ends"])


def whole(suffix: str) -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        soundfile.write(folder / f"whole{suffix}", hiss(1.0), 16_000)
        return (folder / f"whole{suffix}").read_bytes()

    return make


def cut(suffix: str, keep: float) -> Callable[[Path], bytes]:
    """The first part of a whole file, as a full disk or a dropped connection leaves it."""

    def make(folder: Path) -> bytes:
        content = whole(suffix)(folder)
        return content[: round(keep * len(content))]

    return make


def samples(wave: np.ndarray, subtype: str = "PCM_16") -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        soundfile.write(folder / "whole.wav", wave, 16_000, subtype=subtype)
        return (folder / "whole.wav").read_bytes()

    return make


def with_one(value: float) -> np.ndarray:
    wave = hiss(0.5)
    wave[4_000] = value
    return wave


BAD = {  # what is in the file, its suffix, what the reason must say
    "0 bytes": (lambda folder: b"", ".wav", "empty"),
    "text": (lambda folder: b"404 Not Found\n" * 40, ".wav", "corrupt"),
    "text as FLAC": (lambda folder: b"404 Not Found\n" * 40, ".flac", "corrupt"),
    "zeros": (lambda folder: bytes(4_000), ".wav", "corrupt"),
    "half a WAV": (cut(".wav", 0.5), ".wav", "truncated"),
    "all but the last of a WAV": (cut(".wav", 0.98), ".wav", "truncated"),
    "half an AIFF": (cut(".aiff", 0.5), ".aiff", "truncated"),
    "half a FLAC": (cut(".flac", 0.5), ".flac", "truncated|corrupt"),
    "all but the last of a FLAC": (cut(".flac", 0.98), ".flac", "truncated|corrupt"),
    "a WAV's header only": (lambda folder: whole(".wav")(folder)[:44], ".wav", "truncated|no samples"),
    "a WAV of no samples": (samples(np.zeros(0)), ".wav", "no samples"),
    "half a header": (lambda folder: whole(".wav")(folder)[:30], ".wav", "corrupt"),
    "silence": (samples(np.zeros(16_000)), ".wav", "silent"),
    "DC only": (samples(np.full(16_000, 0.3)), ".wav", "silent"),
    "DC only in floats": (samples(np.full(160_000, 0.3), "FLOAT"), ".wav", "silent"),
    "noise of one bit": (samples(hiss(1.0, level=2**-16)), ".wav", "silent"),
    "too short": (samples(tone(440, 0.05)), ".wav", "too short"),
    "NaN": (samples(with_one(np.nan), "FLOAT"), ".wav", "not numbers"),
    "infinite": (samples(with_one(-np.inf), "FLOAT"), ".wav", "not numbers"),
}


@pytest.mark.parametrize(("make", "suffix", "reason"), BAD.values(), ids=BAD)
def test_a_bad_clip_says_why(make: Callable[[Path], bytes], suffix: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(make(tmp_path))
    with pytest.raises(BadClip) as error:
        audio.load(path, Audio())
    assert re.search(reason, str(error.value)), error.value
    assert "\n" not in str(error.value)
    assert str(path) not in str(error.value)  # who lists bad clips names the file; twice is once too often


def test_a_missing_file_is_a_bad_clip(tmp_path: Path) -> None:
    with pytest.raises(BadClip, match="missing"):
        audio.load(tmp_path / "nothing.wav", Audio())


def test_a_clip_too_short_after_trimming_is_reported_with_its_length(write_wav: Callable[..., Path]) -> None:
    path = write_wav("clip.wav", np.concatenate([quiet(1), tone(440, 0.2), quiet(1)]))
    with pytest.raises(BadClip, match=r"too short \(0\.[23]\d\d s after trimming, 0\.5 s needed\)"):
        audio.load(path, Audio(min_seconds=0.5))
    assert len(audio.load(path, Audio(min_seconds=0.1)))


def test_a_clip_of_three_samples_is_read_or_refused_but_never_an_error(write_wav: Callable[..., Path]) -> None:
    """min_seconds may be 0, and at 48 kHz one or two samples leave nothing at 8 kHz."""
    for count in (1, 2, 3):
        path = write_wav(f"{count}.wav", np.array([0.5, -0.5, 0.2])[:count], 48_000)
        try:
            assert len(audio.load(path, Audio(sample_rate=8_000, min_seconds=0)))
        except BadClip:
            continue


def test_a_streamed_wav_without_its_length_is_read_whole(write_wav: Callable[..., Path]) -> None:
    """A recorder that writes to a pipe cannot know the length and says 2³² - 1 bytes; no truncated file says that."""
    path = write_wav("clip.wav", hiss(0.5))
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"  # RIFF's and data's length
    path.write_bytes(content)
    assert len(audio.load(path, UNTRIMMED)) == 8_000


def test_a_streamed_flac_without_its_length_is_read_or_refused_but_never_an_error(
    write_wav: Callable[..., Path],
) -> None:
    """`flac` writing to a pipe leaves 0 samples in the header, for "unknown"; libsndfile makes 2⁶³ - 1 of it."""
    path = write_wav("clip.flac", hiss(0.5))
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # STREAMINFO's 36 bits of total samples
    content[22:26] = bytes(4)
    path.write_bytes(content)
    try:
        assert len(audio.load(path, UNTRIMMED)) == 8_000
    except BadClip as reason:
        assert "length" in str(reason)


def test_what_follows_a_wavs_samples_is_no_truncation(write_wav: Callable[..., Path]) -> None:
    """An unknown chunk behind `data`, and bytes that RIFF's length does not count."""
    path = write_wav("clip.wav", hiss(0.5))
    path.write_bytes(path.read_bytes() + b"junk\x04\0\0\0abcd" + b"\0" * 7)
    assert len(audio.load(path, UNTRIMMED)) == 8_000


@pytest.mark.real
def test_the_originals_decode_as_their_flac_copies(real_corpora: Path) -> None:
    """As distributed: stereo, extra chunks before `data`, clipped, very quiet."""
    originals = sorted(real_corpora.glob("originals/*/*.wav"))
    assert originals
    for original in originals:
        (copy,) = (real_corpora / original.parent.name).rglob(f"{original.stem}.flac")
        (ours, rate), (theirs, copied_rate) = audio.decode(original), audio.decode(copy)
        assert rate == copied_rate
        np.testing.assert_array_equal(ours, theirs, err_msg=original.name)
