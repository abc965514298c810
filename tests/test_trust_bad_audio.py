"""A short form of the part `bad_audio` of make trust, and its judge."""

from pathlib import Path

import numpy as np
import pytest

from emotion_lightning.data import audio
from emotion_lightning.data.audio import BadClip
from trust.bad_audio.damaged_sounds import READ, REFUSED, Case, Sounds
from trust.bad_audio.one_by_one import Decoding, one_by_one
from trust.bad_audio.own_corpus import cached
from trust.rows import Setting
from trust.workers import Lost, Worker


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Sounds:
    return Sounds(tmp_path_factory.mktemp("voices"), seed=1)


def test_damaged_files_are_read_right_or_refused(sounds: Sounds, tmp_path: Path) -> None:
    for number in range(80):
        case = sounds.case(number)
        (file := tmp_path / f"clip{case.suffix}").write_bytes(case.content)
        try:
            fault = case.fault(*audio.decode(file), "")
        except BadClip as reason:
            fault = case.fault(None, 0, str(reason))
        assert not fault, (number, case.kind, fault)


def test_the_judge_sees_what_is_wrong() -> None:
    wave = np.sin(np.arange(1_000.0))
    case = Case("x", ".wav", b"", READ, wave, 8_000)
    decoded = (wave - wave.mean()).astype(np.float32)
    assert case.fault(decoded, 8_000, "") == ""
    assert "refused" in case.fault(None, 0, "corrupt")
    assert "999 samples" in case.fault(decoded[1:], 8_000, "")
    assert "at 9000 Hz" in case.fault(decoded, 9_000, "")
    assert "other samples" in case.fault(-decoded, 8_000, "")
    assert "not numbers" in case.fault(np.full(1_000, np.nan, np.float32), 8_000, "")
    assert "read" in Case("x", ".wav", b"", REFUSED).fault(decoded, 8_000, "")
    assert "not one line" in Case("x", ".wav", b"", REFUSED).fault(None, 0, "two\nlines")


def test_a_case_is_the_same_in_every_process(sounds: Sounds, tmp_path: Path) -> None:
    again = Sounds(tmp_path, seed=1)
    cases = [(again.case(n), sounds.case(n)) for n in range(20)]
    assert all(one.kind == other.kind for one, other in cases)
    pairs = [(one.content, other.content) for one, other in cases if b"OggS" not in one.content]
    assert len(pairs) > 5 and all(one == other for one, other in pairs)  # an Ogg stream has a random number
    assert Sounds(tmp_path, seed=2).case(1).content != sounds.case(1).content


def broken(how: str) -> object:
    def work(job: str) -> str:
        if job == "hang":
            while True:
                pass
        if job == "crash":
            import ctypes

            ctypes.string_at(0)
        if job == "memory":
            return str(len(bytearray(2_000_000_000)))
        return how + job

    return work


@pytest.mark.slow
def test_a_worker_outlives_crashes_hangs_and_want_of_memory() -> None:
    with Worker(broken, "a", seconds=3, megabytes=500) as worker:
        assert worker.ask("b") == "ab"
        for job, reason in (("crash", "ended with -11"), ("hang", "no answer after 3 s"), ("memory", "MemoryError")):
            with pytest.raises(Lost, match=reason):
                worker.ask(job)
            assert worker.ask("b") == "ab"


@pytest.mark.slow
def test_a_short_form_of_the_decoder_and_of_the_cache(tmp_path: Path) -> None:
    setting = Setting(tmp_path, 0.01, seed=3)
    sounds = Sounds(tmp_path / "originals", setting.seed)
    for row in (
        one_by_one("decoder", Decoding, 60, setting),
        cached(sounds, 40, setting),
    ):
        assert row.faults == ()
