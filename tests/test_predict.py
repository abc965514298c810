"""The command `predict`: which files it takes, and what it writes."""

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from emotion_lightning.cli.predict import predict_command
from emotion_lightning.errors import UserError
from emotion_lightning.predict import sound_files
from emotion_lightning.serving.recogniser import Recogniser


def test_predict_writes_csv_json_and_timelines(
    recogniser: Recogniser, clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    for clip in clips[:2]:
        shutil.copy(clip, tmp_path / "in")
    (tmp_path / "in" / "bad.wav").write_bytes(b"")
    files = sound_files(tmp_path / "in")
    with pytest.raises(UserError, match=r"1 of 3 files could not be used\nbad.wav: empty file"):
        predict_command(files, recogniser, tmp_path / "out.csv", False, Console(width=200))
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert (
        lines[0].split(",")[-1] == "fault"
        and len(lines) == 4
        and lines[-1].count("empty") + lines[-3].count("empty") == 1
    )
    assert clips[0].name in capsys.readouterr().out
    predict_command(files[:1], recogniser, tmp_path / "o" / "out.json", True, Console(quiet=True))
    [row] = json.loads((tmp_path / "o" / "out.json").read_text())
    assert sum(row["probabilities"].values()) == pytest.approx(1, abs=1e-4) and row["segments"][0]["start"] == 0
    assert (tmp_path / "o" / f"{files[0].name}.labels.txt").read_text().count("\t") == 2 * len(row["segments"])
    assert (tmp_path / "o" / f"{files[0].name}.png").read_bytes().startswith(b"\x89PNG")
    shutil.copy(clips[0], tmp_path / "[red]x.wav")
    predict_command([tmp_path / "[red]x.wav"], recogniser, None, False, Console(width=200))
    assert "[red]x.wav" in capsys.readouterr().out


def test_files_of_one_name_have_a_timeline_each(recogniser: Recogniser, clips: list[Path], tmp_path: Path) -> None:
    for folder, clip in zip(("a", "b"), clips, strict=False):
        (tmp_path / "in" / folder).mkdir(parents=True)
        shutil.copy(clip, tmp_path / "in" / folder / "x.wav")
    predict_command(sound_files(tmp_path / "in"), recogniser, tmp_path / "o.json", True, Console(quiet=True))
    assert all((tmp_path / folder / "x.wav.labels.txt").is_file() for folder in ("a", "b"))


def test_a_pattern_names_files(clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(clips[0], tmp_path / "a b.wav")
    monkeypatch.chdir(tmp_path)
    assert sound_files("*.wav") == [Path("a b.wav")] and sound_files(f"{tmp_path}/*.wav") == [tmp_path / "a b.wav"]
    with pytest.raises(UserError, match="no file or folder"):
        sound_files("*.flac")
