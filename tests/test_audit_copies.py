"""The audit finds planted copies of recordings: as they are, in other formats, and altered."""

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from audits import audited, experiment, finding
from conftest import DEMO

from emotion_lightning.audit.leakage import audit
from emotion_lightning.audit.summary import sentence
from emotion_lightning.augment.copies import shift_pitch
from emotion_lightning.config import loader as settings
from emotion_lightning.config.schema import Experiment
from emotion_lightning.corpora import demo
from emotion_lightning.data.datamodule import EmotionData
from emotion_lightning.errors import UserError

RATE = 16_000
Change = Callable[[np.ndarray], tuple[np.ndarray, int, str, str]]
"""A clip's samples → those of its copy, with rate, format and subtype."""


def as_it_is(wave: np.ndarray) -> tuple[np.ndarray, int, str, str]:
    return wave, RATE, "WAV", "PCM_16"


def other_rate(wave: np.ndarray) -> tuple[np.ndarray, int, str, str]:
    return soxr.resample(wave, RATE, 11_025), 11_025, "WAV", "PCM_16"


def vorbis(wave: np.ndarray) -> tuple[np.ndarray, int, str, str]:
    return soxr.resample(wave, RATE, 8_000), 8_000, "OGG", "VORBIS"


def mp3(wave: np.ndarray) -> tuple[np.ndarray, int, str, str]:
    return soxr.resample(0.2 * wave, RATE, 22_050), 22_050, "MP3", "MPEG_LAYER_III"


def padded_and_quiet(wave: np.ndarray) -> tuple[np.ndarray, int, str, str]:
    silence = np.zeros(RATE // 3, np.float32)
    return 0.1 * np.concatenate([silence, wave, silence]), RATE, "FLAC", "PCM_16"


def up(wave: np.ndarray) -> tuple[np.ndarray, int, str, str]:
    return shift_pitch(wave, RATE, 0.7), RATE, "WAV", "PCM_16"


def down(wave: np.ndarray) -> tuple[np.ndarray, int, str, str]:
    return shift_pitch(wave, RATE, -2.0), RATE, "WAV", "PCM_16"


def planted(folder: Path, cache: Path, change: Change, clips: int = 6) -> Experiment:
    """A table of DEMO clips; changed copies of the first few are given other speakers."""
    source = sorted(demo.prepare(cache, **DEMO).rglob("*.wav"))
    stride = len(source) // clips
    with (folder / "clips.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "emotion", "speaker"])
        for number, path in enumerate(source):
            rows.writerow([path, ("happy", "sad")[number % 2], f"speaker{number // stride % clips}"])
        for number, path in enumerate(source[::stride][:clips]):
            wave, rate = soundfile.read(path, dtype="float32")
            assert rate == RATE
            samples, rate, container, subtype = change(wave)
            copy = folder / f"copy{number}.{container.lower()}"
            soundfile.write(copy, samples.clip(-1, 1), rate, format=container, subtype=subtype)
            rows.writerow([copy, "happy", f"other{number % 3}"])
    return experiment({"table": {"path": str(folder / "clips.csv")}}, cache)


def everything_crosses(chosen: Experiment) -> EmotionData:
    """Its data, with the copies tested and all else trained on but two clips."""
    data = EmotionData(chosen)
    data.setup()
    copies = [i for i, clip in enumerate(data.clips) if clip.speaker.startswith("table-other")]
    rest = [i for i in range(len(data.clips)) if i not in copies]
    data.split = type(data.split)(*(np.array(split_name) for split_name in (rest[2:], rest[:2], copies)))
    return data


@pytest.mark.parametrize("change", [other_rate, vorbis, mp3, padded_and_quiet])
def test_a_recording_in_another_format_is_found(tmp_path: Path, demo_data: Path, change: Change) -> None:
    data = everything_crosses(planted(tmp_path, demo_data, change))
    found = audit(data)
    assert len(data.split.test) == 6
    assert finding(found, "content").clips == 0
    near = finding(found, "near_equal_audio")
    assert (near.clips, near.verdict) == (6, "LEAK"), near
    assert sentence(found).startswith("LEAK: 6 of 6 test clips share near-equal audio with another split")


@pytest.mark.parametrize("change", [up, down])
def test_a_copy_shifted_in_pitch_is_found(tmp_path: Path, demo_data: Path, change: Change) -> None:
    found = audit(everything_crosses(planted(tmp_path, demo_data, change)))
    altered, near = finding(found, "altered_copy"), finding(found, "near_equal_audio")
    assert altered.clips + near.clips >= 5  # on the real clips nineteen in twenty
    assert (altered.verdict if altered.clips else near.verdict) == "LEAK"


def test_a_copied_file_is_found_and_stops_the_run(tmp_path: Path, demo_data: Path) -> None:
    data = everything_crosses(planted(tmp_path, demo_data, as_it_is))
    found = audit(data)
    assert finding(found, "content").clips == 6
    assert (
        finding(found, "content").verdict == "BROKEN"
    )  # each protocol keeps equal audio together; this split is bent
    with pytest.raises(UserError, match="6 of 6 test clips share equal audio with another split"):
        found.raise_if_broken()


def test_copies_stay_together_where_the_protocol_has_its_way(tmp_path: Path, demo_data: Path) -> None:
    found = audited(planted(tmp_path, demo_data, as_it_is))
    assert finding(found, "content").clips == 0 and len(found.duplicates) == 6


def test_a_recording_in_training_and_validation_split_stops_the_run(tmp_path: Path, demo_data: Path) -> None:
    """The copies validate what the clips they are of train."""
    data = everything_crosses(planted(tmp_path, demo_data, as_it_is))
    twins = {data.clips[i].content for i in data.split.test}
    rest = np.concatenate([data.split.train, data.split.val])
    others = np.array([i for i in rest if data.clips[i].content not in twins])
    data.split = type(data.split)(np.setdiff1d(rest, others[:20]), data.split.test, others[:20])
    found = audit(data)
    assert finding(found, "content", "test").clips == 0
    assert [(f.name, f.split, f.clips) for f in found.broken()] == [("content", "val", 6)]
    assert sentence(found).startswith("BROKEN: 6 of 6 val clips share equal audio with another split")
    assert not re.search("no [a-z, ]*sound", sentence(found))


def test_the_audit_cache_of_other_clips_is_not_used(tmp_path: Path, demo_data: Path) -> None:
    """Two experiments whose splits have the same numbers and not the same clips."""
    tree = planted(tmp_path, demo_data, vorbis).model_dump(mode="json")
    tree["protocol"] = {"name": "paper_random", "test_share": 0.4}

    def left_without(emotion: str) -> EmotionData:
        data = EmotionData(settings.check(tree | {"emotions": {emotion: False}}))
        data.setup()
        return data

    happy, sad = left_without("sad"), left_without("happy")
    assert happy.digest("train", "val", "test") != sad.digest("train", "val", "test")
    audit(happy)
    second = audit(sad).findings
    for place in demo_data.glob("audit-*"):
        shutil.rmtree(place)
    assert audit(sad).findings == second
