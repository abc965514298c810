"""Windows of long recordings and the segments made of them, against cases by hand."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from conftest import hiss, tone
from hypothesis import given
from hypothesis import strategies as st

from emotion_lightning.data.audio import BadClip
from emotion_lightning.serving import timeline
from emotion_lightning.serving.windows import Segment, Windows, blocks, segments, windows


def cut(wave: np.ndarray, sizes: list[int]) -> Iterator[np.ndarray]:
    """The waveform in pieces of these sizes, and the rest."""
    for size in sizes:
        piece, wave = wave[:size], wave[size:]
        yield piece
    yield wave


@given(st.integers(0, 200), st.integers(1, 30), st.lists(st.integers(0, 50), max_size=8))
def test_windows_are_pieces_of_the_recording_and_cover_it_whatever_the_blocks(
    length: int, size: int, sizes: list[int]
) -> None:
    wave, hop = np.arange(length, dtype=np.float32), max(1, size // 2)
    found = list(windows(cut(wave, sizes), size, hop))
    for start, window in found:
        assert np.array_equal(window, wave[start : start + size]) and len(window) == min(size, length)
    starts = [start for start, _ in found]
    assert starts == sorted(set(starts)) and all(s % hop == 0 for s in starts[:-1])
    heard = np.concatenate([window for _, window in found]) if found else wave[:0]
    assert set(heard.tolist()) == set(wave.tolist())


@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (8_000, 1)])
def test_blocks_are_the_recording_resampled(
    rate: int, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotion_lightning.serving.windows.BLOCK_SECONDS", 1)
    wave = np.stack([tone(300, 3.3, rate), tone(500, 3.3, rate)][:channels], 1)
    soundfile.write(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    found = list(blocks(tmp_path / "a.wav", 16_000))
    assert len(found) >= 4
    expected = soxr.resample(wave.mean(1), rate, 16_000)
    assert len(np.concatenate(found)) == len(expected)
    assert np.abs(np.concatenate(found) - expected).max() < 1e-4


def test_a_recording_that_ends_early_is_told(write_wav: Callable[..., Path]) -> None:
    file = write_wav("long.flac", hiss(4), subtype="PCM_16")
    file.write_bytes(file.read_bytes()[:20_000])
    with pytest.raises(BadClip):
        list(blocks(file, 16_000))


def of(rows: list[list[float]], levels: list[float], starts: list[int], size: int, end: int) -> Windows:
    return Windows(np.array(starts), size, end, np.array(rows, np.float32), np.array(levels))


def test_segments_by_hand() -> None:
    """Windows of 4 s every 2 s at 1 Hz: each moment is the mean of the two windows over it, equal neighbours are one segment."""
    rows = [[0.9, 0.1], [0.7, 0.3], [0.1, 0.9], [0.2, 0.8]]
    found = segments(of(rows, [-20.0] * 4, [0, 2, 4, 5], 4, 9), 1, ("happy", "sad"), 0.0)
    # 0–2 happy 0.9, 2–4 happy 0.8, 4–5 (0.7 + 0.1)/2 → sad 0.6, 5–6 of three windows sad 2/3, 6–8 sad 0.85, 8–9 sad 0.8
    assert [(s.start, s.end, s.emotion) for s in found] == [(0, 4, "happy"), (4, 9, "sad")]
    assert [s.confidence for s in found] == pytest.approx([0.85, (0.6 + 2 / 3 + 2 * 0.85 + 0.8) / 5])


def test_silence_belongs_to_no_segment_and_doubt_is_uncertain() -> None:
    rows = [[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]]
    found = segments(of(rows, [-20.0, -75.0, -20.0], [0, 4, 8], 4, 12), 1, ("happy", "sad"), 0.0)
    assert [(s.start, s.end) for s in found] == [(0, 4), (8, 12)]
    found = segments(of(rows, [-20.0] * 3, [0, 4, 8], 4, 12), 1, ("happy", "sad"), 0.7)
    assert [s.emotion for s in found] == ["happy", "uncertain", "happy"]


def test_the_mean_leaves_out_silent_windows() -> None:
    heard = of([[1.0, 0.0], [0.0, 1.0]], [-20.0, -61.0], [0, 2], 4, 6)
    assert heard.mean.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00.0"), (75.46, "1:15.5"), (3675.5, "1:01:15.5"), (59.96, "1:00.0")]
)
def test_times_of_day_are_shown_as_people_read_them(seconds: float, shown: str) -> None:
    assert timeline.clock(seconds) == shown


def test_audacity_gets_seconds_and_a_text_separated_by_tabs() -> None:
    assert timeline.audacity_labels([Segment(0.5, 2, "sad", 0.512)]) == "0.500000\t2.000000\tsad 0.51\n"
