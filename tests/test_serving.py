"""The model package, its MLflow model and `predict`, on models fitted to DEMO voices."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import mlflow
import numpy as np
import pytest
import soundfile
import soxr
import torch
from conftest import hiss, tone
from mlflow.exceptions import MlflowException
from rich.console import Console

from emotion_lightning.cli.predict import predict_command
from emotion_lightning.data.audio import BadClip
from emotion_lightning.errors import UserError
from emotion_lightning.predict import open_model, predict, sound_files
from emotion_lightning.serving.find import package_folder
from emotion_lightning.serving.pyfunc import PackagedModel
from emotion_lightning.serving.recogniser import Recogniser
from emotion_lightning.training.evaluation import RunResult


@pytest.fixture(params=["svm", "small_cnn"])
def recogniser(request: pytest.FixtureRequest, runs: dict[str, RunResult]) -> Recogniser:
    return open_model(runs[request.param].run_id)


@pytest.fixture
def clips(demo_data: Path) -> list[Path]:
    return sorted(demo_data.rglob("03-01-*.wav"))[:20]


def largest_difference(a: dict[str, float], b: dict[str, float]) -> float:
    return max(abs(a[emotion] - b[emotion]) for emotion in a)


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
    assert timeline.segments[0].start == 0 and timeline.segments[-1].end < 6 * len(wave) / rate + 2
    monkeypatch.setattr("emotion_lightning.serving.recogniser.WHOLE_SECONDS", 5)
    streamed = recogniser.file(tmp_path / "long.wav")
    assert largest_difference(streamed.probabilities, timeline.probabilities) < 1e-6


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


# The package


def test_a_package_is_plain_data_and_reads_back_the_same(recogniser: Recogniser, clips: list[Path]) -> None:
    folder = package_folder(run=recogniser.about.run)
    files = {file.name for file in folder.iterdir()}
    assert files in ({"package.json", "README.md", "model.ckpt"}, {"package.json", "README.md", "model.skops"})
    if "model.ckpt" in files:
        assert set(torch.load(folder / "model.ckpt", weights_only=True)) == {
            "hyper_parameters", "state_dict", "picture_size",
        }  # fmt: skip
    again = open_model(model=str(folder))
    assert again.file(clips[0]) == recogniser.file(clips[0])
    assert not list(folder.parent.parent.rglob("*.pkl"))


def test_the_card_says_what_the_figures_are_of_and_what_the_model_is_not_for(runs: dict[str, RunResult]) -> None:
    result = runs["svm"]
    card = (package_folder(run=result.run_id) / "README.md").read_text()
    assert card.startswith("# DEMO · demo_svm · speaker_folds")
    assert "must not be used for decisions about people" in card
    assert "0 of the" in card and "The figures are of unseen speakers" in card
    assert f"| UAR (unweighted average recall) | {result.figures['test/uar']:.3f} |" in card
    assert f"{result.figures['test/set_coverage']:.1%}" in card and "generated, no rights" in card


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "package.json").write_text("{"), "package.json cannot be read"),
        (lambda folder: (folder / "package.json").write_text('{"format": 2}'), "package.json cannot be read"),
        (lambda folder: (folder / "package.json").unlink(), "neither package.json nor MLmodel"),
        (lambda folder: (folder / "model.skops").unlink(), "has no model.ckpt and no model.skops"),
        (lambda folder: (folder / "model.skops").write_bytes(b"PK"), "model.skops of the run is damaged"),
    ],
)
def test_a_damaged_package_is_refused_in_one_line(
    damage: Callable[[Path], object], message: str, runs: dict[str, RunResult], tmp_path: Path
) -> None:
    folder = shutil.copytree(package_folder(run=runs["svm"].run_id), tmp_path / "package")
    damage(folder)
    with pytest.raises(UserError, match=message) as refused:
        open_model(model=str(folder))
    assert "\n" not in str(refused.value)


# The MLflow model


def hours_of_silence() -> bytes:
    """A small FLAC file that lasts long."""
    content = BytesIO()
    soundfile.write(content, np.zeros(8_000_000), 8_000, format="FLAC")
    return content.getvalue()


def test_the_mlflow_model_takes_arrays_paths_and_bytes(recogniser: Recogniser, clips: list[Path]) -> None:
    folder = package_folder(run=recogniser.about.run).parents[1]
    model = mlflow.pyfunc.load_model(str(folder))
    # the code of the version that runs, not a copy from the version that trained, whose helpers may be gone
    assert type(model.unwrap_python_model()) is PackagedModel
    expected = recogniser.file(clips[0])
    wave, rate = soundfile.read(clips[0], dtype="float32")
    rows = [
        [{"path": str(clips[0])}],
        [{"samples": wave, "rate": rate}],
        [{"samples": wave.tolist(), "rate": rate}],
        [{"audio": base64.b64encode(clips[0].read_bytes()).decode()}],
    ]
    for row in rows:
        answer = model.predict(row).iloc[0]
        assert largest_difference(expected.probabilities, answer.to_dict()) < 1e-6
        assert answer.emotion == expected.emotion and answer.confidence == pytest.approx(expected.confidence)
        assert list(answer.emotions) == list(expected.emotions)
    assert model.predict(rows[0], params={"min_confidence": 0.999}).iloc[0].emotion == "uncertain"


def test_a_row_that_cannot_be_used_is_named(runs: dict[str, RunResult], tmp_path: Path) -> None:
    model = mlflow.pyfunc.load_model(str(package_folder(run=runs["svm"].run_id).parents[1]))
    good = hiss().astype(np.float32)
    cases = [
        ([{"samples": good, "rate": 16_000}, {"samples": 0 * good, "rate": 16_000}], "row 1: silent"),
        ([{"samples": good[:10], "rate": 16_000}], "row 0: too short"),
        ([{"samples": good * np.nan, "rate": 16_000}], "row 0: samples that are not numbers"),
        ([{"samples": good, "rate": 0}], "row 0: a rate of 0 Hz"),
        ([{"samples": good}], "row 0: rate is missing"),
        ([{"samples": good * 32768, "rate": 16_000}], "row 0: samples are numbers from -1 to 1, and one is"),
        ([{"samples": np.zeros(700_000), "rate": 1000}], "row 0: it lasts 700 s; at most 600 s"),
        ([{"audio": base64.b64encode(hours_of_silence()).decode()}], "row 0: it lasts 1000 s; at most 600 s"),
        ([{"audio": "no base64!"}], "row 0: audio is not base64"),
        ([{"audio": base64.b64encode(b"no sound").decode()}], "row 0: corrupt"),
        ([{"path": str(tmp_path / "nothing.wav")}], "row 0: missing"),
        ([{"sound": 1}], "no column audio, path or samples"),
    ]
    for rows, message in cases:
        with pytest.raises(MlflowException, match=message):
            model.predict(rows)


# The command


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


@pytest.mark.slow
def test_the_mlflow_model_loads_without_the_repository(runs: dict[str, RunResult], clips: list[Path]) -> None:
    """In a process that has only the artifact: our code comes out of it."""
    folder = package_folder(run=runs["small_cnn"].run_id).parents[1].resolve()
    code = (
        "import sys, mlflow; sys.path = [p for p in sys.path if 'emotion' not in p]\n"
        f"model = mlflow.pyfunc.load_model({str(folder)!r})\n"
        f"print(model.predict([{{'path': {str(clips[0])!r}}}]).to_json(orient='records'))\n"
        "import emotion_lightning; print(emotion_lightning.__file__)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd="/", check=True)
    answer, place = done.stdout.strip().splitlines()[-2:]
    assert place.startswith(str(folder))
    expected = open_model(runs["small_cnn"].run_id).file(clips[0]).probabilities
    assert largest_difference(expected, json.loads(answer)[0]) < 1e-6
