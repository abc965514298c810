"""Sound files that lie or that are damaged: `make trust` found each of these faults."""

import os
import resource
import struct
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import hiss, tone

from emotion_lightning.config.schema import Audio
from emotion_lightning.data import audio, ogg
from emotion_lightning.data.audio import BadClip
from emotion_lightning.serving.recogniser import decodable, header_seconds
from emotion_lightning.serving.windows import blocks


def refused(path: Path) -> str:
    """The reason why a file is refused, which is the same for its path and for its bytes."""
    reasons = set()
    for decode in (lambda: audio.load(path, Audio()), lambda: audio.decode_bytes(path.read_bytes(), 600)):
        with pytest.raises(BadClip) as error:
            decode()
        reasons.add(str(error.value))
    [reason] = reasons
    return reason


@pytest.mark.parametrize("rate", [1, 999, 768_001, 10_000_000, 2**31 - 1])
def test_an_impossible_rate_is_refused_before_hours_are_resampled(rate: int, write_wav: Callable[..., Path]) -> None:
    path = write_wav("clip.wav", hiss(0.5))
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", rate)
    path.write_bytes(content)
    assert refused(path) == f"a rate of {rate} Hz; 1000 to 768000 are possible"
    with pytest.raises(BadClip, match="a rate of"):
        list(blocks(path, 16_000))


def test_a_number_of_samples_that_no_memory_holds_is_refused(write_wav: Callable[..., Path]) -> None:
    path = write_wav("clip.flac", hiss(0.5))
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # STREAMINFO's highest bits of the number of samples: 2³⁶
    path.write_bytes(content)
    with pytest.raises(BadClip, match="too long"):
        audio.load(path, Audio())


@pytest.mark.parametrize("value", [1e20, 3e38, -1e30, 32_768.0])
def test_a_sample_far_above_full_scale_is_refused(value: float, write_wav: Callable[..., Path]) -> None:
    """Its square is infinite in 32 bits, so trimming found no loud frame; a file of integers in floats is no better."""
    wave = hiss(0.5)
    wave[4_000] = value
    path = write_wav("clip.wav", wave, subtype="FLOAT")
    assert "where full scale is 1" in refused(path)
    with pytest.raises(BadClip, match="full scale"):
        list(blocks(path, 16_000))


def test_a_codec_that_cannot_seek_is_read_or_refused() -> None:
    """soundfile raised ValueError for a header that says G.721."""
    out = BytesIO()
    soundfile.write(out, tone(440), 16_000, format="WAV", subtype="G721_32")
    wave, rate = audio.decode_bytes(out.getvalue(), 600)
    assert rate == 16_000 and abs(len(wave) - 16_000) < 300


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_cut_or_damaged_ogg_file_is_refused(subtype: str, tmp_path: Path) -> None:
    """libsndfile leaves out a damaged page, and reads the rest as if it were all."""
    path = tmp_path / "clip.ogg"
    soundfile.write(path, hiss(3.0), 16_000, format="OGG", subtype=subtype)
    content = path.read_bytes()
    assert ogg.damage(BytesIO(content)) == "" and len(audio.load(path, Audio())) > 40_000
    path.write_bytes(content[: len(content) * 3 // 4])
    assert "truncated" in refused(path)
    pages = [i for i in range(len(content)) if content.startswith(b"OggS", i)]
    path.write_bytes(content[: pages[-1]] + content[pages[-1] :].replace(content[-9:-8], b"\0", 1))
    assert "damaged" in refused(path)
    path.write_bytes(content[: pages[-2]] + content[pages[-1] :])
    assert "an Ogg page is missing" in refused(path)


def test_a_long_file_that_ends_early_is_not_filled_with_the_block_before(tmp_path: Path) -> None:
    """soundfile's `blocks` yields its buffer once more where a file has fewer samples than its header says."""
    path = tmp_path / "long.mp3"
    soundfile.write(path, np.tile(hiss(5.0), 13), 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadClip, match="truncated"):
        list(blocks(path, 16_000))


def test_a_pipe_a_folder_and_a_device_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(pipe := tmp_path / "pipe.wav")
    (loop := tmp_path / "loop.wav").symlink_to("loop.wav")
    for path in (pipe, tmp_path, Path("/dev/zero")):
        with pytest.raises(BadClip, match="not a file"):
            audio.load(path, Audio())
        with pytest.raises(BadClip, match="not a file"), decodable(path):
            pass
    for path in (loop, tmp_path / ("x" * 300), tmp_path / "a\0b"):
        with pytest.raises(BadClip, match="it cannot be opened"):
            audio.load(path, Audio())


def test_a_name_need_not_be_utf8(write_wav: Callable[..., Path]) -> None:
    path = write_wav("clip.wav", hiss(0.5))
    named = path.rename(path.with_name(os.fsdecode(b"\xe4\xff\n.wav")))
    assert len(audio.load(named, Audio(trim_db=None))) == 8_000
    assert header_seconds(named) == 0.5 and sum(map(len, blocks(named, 16_000))) == 8_000


def test_bytes_in_which_a_damaged_header_seeks_to_before_the_start_print_nothing(
    write_wav: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    content = write_wav("clip.aiff", hiss(0.2)).read_bytes()
    random = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(content)
        for at in random.integers(0, 60, 3):
            changed[at] = random.integers(256)
        try:
            audio.decode_bytes(bytes(changed), 600)
        except BadClip as reason:
            assert "\n" not in str(reason)
    assert "Traceback" not in capfd.readouterr().err


def test_a_fault_of_the_machine_is_not_one_of_the_clip(write_wav: Callable[..., Path]) -> None:
    file = write_wav("a.wav", tone(300))
    first_free = os.open(os.devnull, os.O_RDONLY)
    os.close(first_free)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            audio.decode(file)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(audio.decode(file)[0])
