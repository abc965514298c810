"""The model package and its MLflow model, on models fitted to DEMO voices."""

import base64
import json
import pickle
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
import torch
from conftest import hiss, largest_difference
from mlflow.exceptions import MlflowException

from emotion_lightning.errors import UserError
from emotion_lightning.predict import open_model
from emotion_lightning.serving.find import package_folder
from emotion_lightning.serving.pyfunc import PackagedModel
from emotion_lightning.serving.recogniser import Recogniser
from emotion_lightning.training.evaluation import RunResult


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


def saved(thing: object) -> bytes:
    """What torch writes of a thing."""
    out = BytesIO()
    torch.save(thing, out)
    return out.getvalue()


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code of the file was run",)


@pytest.mark.parametrize("body", [pickle.dumps(Payload()), saved({"state_dict": Payload()}), saved({"other": 1})])
@pytest.mark.parametrize("name", ["small_cnn", "svm"])
def test_a_model_file_with_code_is_refused_in_one_line_and_not_run(
    body: bytes, name: str, runs: dict[str, RunResult], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(package_folder(run=runs[name].run_id), tmp_path / "package")
    (file,) = (*folder.glob("model.ckpt"), *folder.glob("model.skops"))
    file.write_bytes(body)
    with pytest.raises(UserError, match=f"{file.name} of the run is damaged") as refused:
        open_model(model=str(folder))
    assert "\n" not in str(refused.value) and "weights_only" not in str(refused.value)
    assert "was run" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("about: !!python/object/apply:os.getcwd []", "MLmodel line 1: not YAML"),
        ("[1, 2]", "must be a mapping"),
        ("flavors: {python_function: 3}", "by another program"),
        ("flavors: {python_function: {artifacts: {package: {path: ../..}}}}", "a package that is not in its folder"),
    ],
)
def test_a_foreign_mlmodel_is_refused_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=message) as refused:
        package_folder(model=str(tmp_path))
    assert "\n" not in str(refused.value)
