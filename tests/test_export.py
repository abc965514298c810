"""Exports to ONNX: every kind of model agrees with torch, a wrong file is refused, and the example needs no torch."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from conftest import tone
from packages import make_package

from emotion_lightning.errors import UserError
from emotion_lightning.predict import sound_files
from emotion_lightning.serving import package
from emotion_lightning.serving.onnx import about as exported
from emotion_lightning.serving.onnx import clips
from emotion_lightning.serving.onnx.export import _clear, export, require_parity
from emotion_lightning.serving.onnx.recogniser import Graph, OnnxRecogniser
from emotion_lightning.serving.recogniser import Recogniser

pytest.importorskip("onnxscript")
EXAMPLE = Path(__file__).parents[1] / "examples" / "onnx_predict.py"
CNN = ("demo_small_cnn", "features.height=32", "features.width=32", "model.width=4")


@dataclass(frozen=True)
class Exported:
    package: Path
    folder: Path
    recogniser: Recogniser
    clips: clips.Clips
    about: exported.Export


def exporting(
    folder: Path, cache: Path, experiment: str, *settings: str, int8: bool = False, size: int | None = None
) -> Exported:
    source = make_package(folder / "made", cache, experiment, *settings, size=size)
    recogniser = package.read(source)
    chosen = clips.generated(recogniser)
    about = export(source, folder / "export", chosen, int8, lambda line: None)
    return Exported(source, folder / "export", recogniser, chosen, about)


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory, demo_data: Path) -> Exported:
    """A small network on pictures, which are resized and stretched inside the graph; with 8 bits too."""
    return exporting(tmp_path_factory.mktemp("cnn"), demo_data, *CNN, int8=True, size=48)


def test_the_file_holds_everything_and_agrees_with_torch(cnn: Exported) -> None:
    assert cnn.about.input == "waves" and not (cnn.folder / exported.PACKAGE).exists()
    assert cnn.about.parity.largest_difference < 1e-4
    answers = OnnxRecogniser(cnn.folder).probabilities(cnn.clips.waves)
    expected = cnn.recogniser.probabilities(cnn.clips.waves)
    assert expected.std(0).max() > 0.01  # the answers differ from clip to clip, so agreement means something
    np.testing.assert_allclose(answers, expected, atol=1e-4)
    np.testing.assert_allclose(answers.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("sizes", [(5_000,), (60_000,), (16_000, 8_123), (9_001, 9_000, 30_000, 2_500, 48_000)])
def test_batches_and_lengths_that_were_not_in_the_example_agree_too(cnn: Exported, sizes: tuple[int, ...]) -> None:
    waves = [tone(200 + 50 * i, size / 16_000).astype(np.float32) for i, size in enumerate(sizes)]
    answers = OnnxRecogniser(cnn.folder).probabilities(waves)
    np.testing.assert_allclose(answers, cnn.recogniser.probabilities(waves), atol=1e-4)


def test_a_recording_gets_the_same_answer_as_from_the_package(cnn: Exported) -> None:
    recording = tone(300, 3.0, 44_100), 44_100
    [answer], [expected] = OnnxRecogniser(cnn.folder).recognise([recording]), cnn.recogniser.recognise([recording])
    assert answer.emotion == expected.emotion and answer.seconds == expected.seconds
    assert answer.probabilities == pytest.approx(expected.probabilities, abs=1e-4)


def test_a_file_with_other_weights_is_refused_and_deleted(cnn: Exported, tmp_path: Path) -> None:
    model = onnx.load(cnn.folder / cnn.about.file)
    weights = next(w for w in model.graph.initializer if w.name.endswith("head.3.bias"))
    values = onnx.numpy_helper.to_array(weights).copy()
    values[0] += 0.05
    weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
    wrong = tmp_path / "wrong.onnx"
    onnx.save(model, wrong)
    expected = cnn.recogniser.probabilities(cnn.clips.waves)
    with pytest.raises(UserError, match=r"refused.*differs from torch's by \d"):
        require_parity(wrong, Graph(wrong, None), cnn.clips, expected)
    assert not wrong.exists()


def test_an_export_does_not_delete_what_is_in_the_folder(cnn: Exported, tmp_path: Path) -> None:
    (tmp_path / exported.PACKAGE).mkdir()
    _clear(cnn.package, tmp_path)
    assert (tmp_path / exported.PACKAGE).is_dir()
    with pytest.raises(UserError, match="holds the model"):
        _clear(cnn.package, cnn.package.parent)
    assert (cnn.package / package.ABOUT).is_file()


def test_the_file_of_8_bits_is_smaller_and_its_cost_is_stated(cnn: Exported) -> None:
    small = cnn.about.int8
    assert small and small.method.startswith("static") and small.megabytes < cnn.about.megabytes
    answers = OnnxRecogniser(cnn.folder, int8=True).probabilities(cnn.clips.waves)
    expected = cnn.recogniser.probabilities(cnn.clips.waves)
    assert np.abs(answers - expected).max() <= small.largest_difference + 1e-3
    assert small.largest_difference > 1e-4 and small.scores is None
    quantised = {node.op_type for node in onnx.load(cnn.folder / small.file).graph.node}
    assert "QuantizeLinear" in quantised


def test_8_bits_that_change_too_many_answers_are_refused(
    cnn: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emotion_lightning.serving.onnx.export.MOST_CHANGED", -0.1)  # so that no change is too many
    with pytest.raises(UserError, match=r"INT8: refused, .* 0% of \d+ clips .* at most -10% may"):
        export(cnn.package, tmp_path, cnn.clips, True, lambda line: None)
    assert (tmp_path / "model.onnx").is_file() and not (tmp_path / "model.int8.onnx").exists()


def test_the_example_needs_no_torch_and_gives_the_answers_of_the_package(
    cnn: Exported, write_wav: Callable[..., Path], tmp_path: Path
) -> None:
    silence = np.zeros(9_000)
    sounds = [np.concatenate([silence, tone(hertz, 1.3, 44_100) + 0.1, silence]) for hertz in (180, 420)]
    files = [write_wav(f"{i}.wav", sound, 44_100) for i, sound in enumerate(sounds)]
    for name in ("torch", "emotion_lightning"):
        (tmp_path / "blocked" / name).mkdir(parents=True)
        (tmp_path / "blocked" / name / "__init__.py").write_text("raise ImportError('blocked')")
    command = [sys.executable, str(EXAMPLE), str(cnn.folder / cnn.about.file), *map(str, files)]
    environment = {"PYTHONPATH": str(tmp_path / "blocked"), "PATH": ""}
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    for line, expected in zip(printed.splitlines(), cnn.recogniser.files(files), strict=True):
        _, emotion, probability = line.split("\t")
        assert emotion == expected.emotion and float(probability) == pytest.approx(expected.confidence, abs=1e-3)
    assert len(EXAMPLE.read_text().splitlines()) <= 60


@pytest.mark.real
def test_a_hundred_real_clips_get_the_same_probabilities(cnn: Exported, real_corpora: Path) -> None:
    files = sound_files(real_corpora / "ravdess")[::14][:100]  # follows links, as rglob does not
    found = clips.of_files(files, cnn.recogniser)
    expected = cnn.recogniser.probabilities(found.waves)
    assert len(found.waves) == 100 and expected.std(0).max() > 0.001
    np.testing.assert_allclose(OnnxRecogniser(cnn.folder).probabilities(found.waves), expected, atol=1e-4)
    answers = [answer.confidence for answer in OnnxRecogniser(cnn.folder).files(files)]
    assert answers == pytest.approx([answer.confidence for answer in cnn.recogniser.files(files)], abs=1e-4)


@pytest.mark.slow
def test_the_command_prints_what_was_measured(cnn: Exported, tmp_path: Path, write_wav: Callable[..., Path]) -> None:
    write_wav("clips/a.wav", tone(250, 1.5))
    words = ["export", "--model", str(cnn.package), "--out", "here", "--audio", str(tmp_path / "clips")]
    command = [sys.executable, "-m", "emotion_lightning", *words]
    root = str(EXAMPLE.parents[1])
    printed = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": root, "PATH": ""}, check=True, capture_output=True, text=True
    ).stdout
    for part in ("here/model.onnx", "opset", "front end: in the graph", "on 1 clips", "real-time factor"):
        assert part in printed


@pytest.mark.slow
def test_a_model_without_a_network_has_no_8_bits_and_its_front_end_is_shipped(
    tmp_path: Path, demo_data: Path
) -> None:
    with pytest.raises(UserError, match="INT8"):
        exporting(tmp_path, demo_data, "best_small", "features.speeds=[1.0]", "model.views=1", int8=True)
    recogniser = package.read(tmp_path / "made" / "package")
    chosen = clips.generated(recogniser)
    about = exported.read(tmp_path / "export")  # the file in 32 bits is kept
    assert about.input == "features" and "acoustics is computed clip by clip" in about.front_end
    shutil.rmtree(tmp_path / "made")  # the export alone is enough
    answers = OnnxRecogniser(tmp_path / "export").probabilities(chosen.waves)
    np.testing.assert_allclose(answers, recogniser.probabilities(chosen.waves), atol=1e-4)
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(tmp_path / "export" / "model.onnx"), "a.wav"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and "needs torch" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "settings", "given"),
    [
        ("svm_std", (), "waves"),
        ("lstm", ("model.hidden=16",), "waves"),
        # torch 2.11 crashes in the backward pass of 8 channels in channels-last, on a processor with AMX
        ("resnet_stats", ("model.widths=[16, 32]",), "waves"),
        ("cnn1d_attention_by_speaker", ("emotions.calm=neutral",), "waves"),
        ("area_attention", (), "waves"),
        ("eca_cnn", (), "waves"),
    ],
)
def test_every_kind_of_model_agrees_with_torch(
    experiment: str, settings: tuple[str, ...], given: str, tmp_path: Path, demo_data: Path
) -> None:
    made = exporting(tmp_path, demo_data, experiment, *settings)
    assert made.about.input == given
    answers = OnnxRecogniser(made.folder).probabilities(made.clips.waves)
    np.testing.assert_allclose(answers, made.recogniser.probabilities(made.clips.waves), atol=1e-4)


@pytest.mark.slow
def test_the_run_s_own_clips_are_found_and_their_test_split_is_scored(cnn: Exported) -> None:
    found = clips.of_run(cnn.recogniser.model.classifier.experiment, cnn.recogniser.about.classes)
    assert found.of == "test clips of demo" and len(found.waves) == len(found.labels) == len(found.test)
    assert len(found.training) > len(found.waves)
    with pytest.raises(UserError, match="other emotions"):
        clips.of_run(cnn.recogniser.model.classifier.experiment, ("angry", "sad"))


def test_a_folder_that_is_no_export_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not an export"):
        OnnxRecogniser(tmp_path)
    (tmp_path / exported.FILE).write_text(json.dumps({"format": 1}))
    with pytest.raises(UserError, match="cannot be read"):
        OnnxRecogniser(tmp_path)
