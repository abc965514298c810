"""The pages of whole runs on the DEMO corpus: a network and an estimator, from training to HTML."""

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from processes import copy_ready_store
from rich.console import Console
from test_explain import parsed

from emotion_lightning.cli.explain import explain
from emotion_lightning.config import loader as settings
from emotion_lightning.errors import UserError
from emotion_lightning.explain import audio_page, page, source
from emotion_lightning.train import RunResult, train

pytestmark = pytest.mark.slow
QUIET = Console(quiet=True)
SMALL = {
    "corpora": {"demo": {"speakers": 4, "takes": 1}},
    "protocol": {"name": "speaker_folds", "folds": 3},
    "name": "small",
}
MODELS = {
    "network": {
        "features": {"name": "log_mel", "bands": 32, "frames": 200},
        "model": {"name": "resnet_stats", "widths": [8, 16]},
        "fit": {"stages": {"main": {"epochs": 2}}, "gap_clips": 16},
    },
    "estimator": {"features": {"name": "mfcc"}, "model": {"name": "svm"}},
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    before, folder = Path.cwd(), tmp_path_factory.mktemp("workplace")
    copy_ready_store(folder)
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def runs(workplace: Path, demo_data: Path) -> dict[str, RunResult]:
    trees = {name: {**SMALL, **model, "data": {"cache": str(demo_data)}} for name, model in MODELS.items()}
    return {name: train(settings.check(tree), QUIET) for name, tree in trees.items()}


@pytest.mark.parametrize("kind", ["network", "estimator"])
def test_a_page_has_every_part(kind: str, runs: dict[str, RunResult]) -> None:
    explained = source.read(runs[kind].run_id)
    found = parsed(page.write(explained, 5, "pca", QUIET))
    text, tags = found.shown(), [tag for tag, _ in found.attributes]
    assert text.startswith("Errors of DEMO · small · speaker_folds") and "DEMO: generated voices" in text
    assert "was trained on: the scores are for unseen speakers" in text and "not here" not in text
    assert f"{100 * runs[kind].figures['test/uar']:.1f} %" in text
    assert tags.count("audio") == 5 and tags.count("img") == 5 + 2
    assert [name for name in ("speaker", "sentence", "sex", "corpus") if f"By {name}" not in text] == ["corpus"]
    assert "silhouette score is" in text and "changed since" not in text and "ATTENTION" not in text
    represented = "enter the last linear layer" if kind == "network" else "logarithms of the 8 probabilities"
    assert represented in text


def test_the_mistakes_are_those_of_the_run(runs: dict[str, RunResult]) -> None:
    result = runs["network"]
    predicted = result.probabilities.argmax(1)
    wrong = [i for i in range(len(predicted)) if predicted[i] != result.labels[i]]
    expected = max(wrong, key=lambda i: float(result.probabilities[i].max()))
    assert page.most_confident(source.read(result.run_id), 1) == [expected]


@pytest.mark.parametrize("kind", ["network", "estimator"])
def test_the_page_of_a_file_says_what_mattered(kind: str, runs: dict[str, RunResult], demo_data: Path) -> None:
    clip = next(demo_data.rglob("03-01-05-*.wav"))
    file = audio_page.write(source.read(runs[kind].run_id), clip)
    found = parsed(file)
    text = found.shown()
    assert file.name == f"audio_{clip.stem}.html" and f"What mattered in {clip.name}" in text
    if kind == "network":
        summed, difference = re.search(r"sums up to (\S+) of the difference of (\S+)\.", text).groups()
        numbers = [float(number.replace("−", "-")) for number in (summed, difference)]
        assert numbers[0] == pytest.approx(numbers[1], rel=0.1, abs=0.05)
        assert len(re.findall(r"seed \d [+−]0\.\d\d [+−]0\.\d\d", text)) == audio_page.RANDOM
    else:
        assert "Method: occlusion" in text and "Not checked" in text
    assert f'href="{file.name}"' in page.write(source.read(runs[kind].run_id), 1, "tsne", QUIET).read_text()


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ("features.coefficients=13", "The clips and their labels are those of the run, but"),
        ("protocol.fold=1", "The clips and their labels are those of the run, but"),
        ("emotions.calm=neutral", "ATTENTION: the clips or their labels"),
    ],
)
def test_data_that_differ_from_those_of_the_run_are_reported(
    change: str, note: str, runs: dict[str, RunResult]
) -> None:
    assert source.open_clips(source.read(runs["estimator"].run_id, [change]), QUIET).note.startswith(note)


def test_the_predictions_of_a_run_have_its_sentences(runs: dict[str, RunResult], demo_data: Path) -> None:
    explained = source.read(runs["estimator"].run_id)
    clips = source.open_clips(explained, QUIET)
    rows = np.array([clips.rows[name] for name in explained.predictions.clips])
    assert rows.tolist() == clips.data.split.test.tolist()
    sentences = [clips.data.clips[row].sentence for row in rows]
    assert explained.predictions.fields["sentence"] == sentences and set(sentences) > {"kids", "dogs"}


def test_a_wrong_file_or_run_is_one_line(runs: dict[str, RunResult], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"AUDIO: there is no file 'nothing\.wav'"):
        explain("x", [], Path("nothing.wav"), 12, "pca", QUIET)
    (tmp_path / "broken.wav").write_bytes(b"")
    with pytest.raises(UserError, match=r"AUDIO: '.*broken\.wav': empty file"):
        audio_page.write(source.read(runs["network"].run_id), tmp_path / "broken.wav")
    with pytest.raises(UserError, match="no runs start with 'ffff'"):
        source.read("ffff")


def test_without_captum_the_command_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
) -> None:
    (tmp_path / "a.wav").touch()
    monkeypatch.setitem(sys.modules, "captum", None)
    assert "pip install 'emotion-lightning[explain]'" in refusal(tmp_path, "explain", "x", "--audio", "a.wav")
