"""What a model answers to sounds of any kind, on models fitted to DEMO voices."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from conftest import largest_difference, tone

from emotion_lightning.data.audio import BadClip
from emotion_lightning.predict import open_model, predict, sound_files
from emotion_lightning.serving.recogniser import Recogniser, decodable
from emotion_lightning.training.evaluation import RunResult


def test_an_answer_does_not_depend_on_the_other_files(recogniser: Recogniser, clips: list[Path]) -> None:
    together = list(recogniser.files(clips))
    for path, answer in zip(clips, together, strict=True):
        assert not isinstance(answer, BadClip)
        assert largest_difference(recogniser.file(path).probabilities, answer.probabilities) < 1e-5


@pytest.mark.parametrize("rate", [8_000, 48_000])
def test_sound_of_another_rate_and_stereo_gives_about_the_same(
    rate: int, recogniser: Recogniser, clips: list[Path]
) -> None:
    wave, own = soundfile.read(clips[0], dtype="float32")
    other = soxr.resample(wave, own, rate)
    mono, stereo, inverted = recogniser.recognise(
        [(other, rate), (np.stack([other, other], 1), rate), (np.stack([other, -other], 1), rate)]
    )
    assert mono.probabilities == stereo.probabilities == inverted.probabilities
    if rate > own:
        # the SVM's MFCC depend on the last 3 % below 8 kHz, which resampling takes away
        allowed = 0.15 if "svm" in recogniser.about.title else 0.02
        assert largest_difference(mono.probabilities, recogniser.file(clips[0]).probabilities) < allowed


def test_an_unusable_sound_is_told_and_the_rest_goes_on(
    recogniser: Recogniser, write_wav: Callable[..., Path]
) -> None:
    good = write_wav("a.wav", tone(300))
    write_wav("b.wav", np.zeros(16_000))
    write_wav("c.wav", tone(300, 0.01))
    write_wav("d.wav", np.full(16_000, np.nan), subtype="FLOAT")
    (good.parent / "e.wav").write_bytes(b"")
    (good.parent / "f.wav").write_bytes(b"RIFF but no sound")
    (good.parent / "g.m4a").write_bytes(b"no sound")
    found = {p.path.stem: p for p in predict(sound_files(good.parent), recogniser)}
    assert found["a"].answer and not found["a"].fault
    reasons = {"b": "silent", "c": "too short", "d": "not numbers", "e": "empty file", "f": "corrupt", "g": "ffmpeg"}
    for name, reason in reasons.items():
        assert reason in found[name].fault and found[name].answer is None


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
def test_a_compressed_file_is_decoded_by_ffmpeg(recogniser: Recogniser, clips: list[Path], tmp_path: Path) -> None:
    subprocess.run(["ffmpeg", "-v", "error", "-i", clips[0], "-b:a", "192k", tmp_path / "a.m4a"], check=True)
    answer = recogniser.file(tmp_path / "a.m4a")
    assert largest_difference(answer.probabilities, recogniser.file(clips[0]).probabilities) < 0.3


def test_a_long_recording_is_cut_into_windows(
    recogniser: Recogniser, clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave, rate = soundfile.read(clips[0], dtype="float32")
    soundfile.write(tmp_path / "long.wav", np.concatenate([np.tile(wave, 6), np.zeros(8 * rate)]), rate)
    whole = recogniser.file(tmp_path / "long.wav")
    assert whole.windows > 5 and sum(whole.probabilities.values()) == pytest.approx(1, abs=1e-4)
    timeline = recogniser.file(tmp_path / "long.wav", timeline=True)
    assert timeline.probabilities == whole.probabilities and timeline.windows == whole.windows
    assert timeline.segments[0].start == 0 and timeline.segments[-1].end < 6 * len(wave) / rate + 2
    monkeypatch.setattr("emotion_lightning.serving.recogniser.WHOLE_SECONDS", 5)
    streamed = recogniser.file(tmp_path / "long.wav", timeline=True)
    assert streamed.segments == timeline.segments
    assert (
        largest_difference(streamed.probabilities, timeline.probabilities) < 0.2
    )  # of the windows before the trimming


def test_confidence_below_the_least_is_uncertain(runs: dict[str, RunResult], clips: list[Path]) -> None:
    answer = open_model(runs["svm"].run_id, min_confidence=0.999).file(clips[0])
    assert answer.emotion == "uncertain" and answer.ranked[0][0] in answer.emotions


def test_a_long_sound_without_a_voice_is_a_fault_of_its_own_file(
    recogniser: Recogniser, clips: list[Path], write_wav: Callable[..., Path]
) -> None:
    drift = 0.0005 * np.sin(2 * np.pi * 0.01 * np.arange(100 * 16_000) / 16_000)  # slower than any window
    file = write_wav("drift.wav", drift, subtype="FLOAT")
    fault, answer = recogniser.files([file, clips[0]])
    assert isinstance(fault, BadClip) and not isinstance(answer, BadClip)
    [fault] = recogniser.recognise([(drift.astype(np.float32), 16_000)])
    assert isinstance(fault, BadClip)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs ffmpeg")
def test_a_playlist_under_the_name_of_a_sound_opens_no_other_file(clips: list[Path], tmp_path: Path) -> None:
    sound = shutil.copy(clips[0], tmp_path / "private.wav")
    upload = tmp_path / "upload.m4a"
    upload.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1,\n{sound}\n#EXT-X-ENDLIST\n", encoding="utf-8")
    with pytest.raises(BadClip, match="ffmpeg cannot decode it"), decodable(upload):
        pass
