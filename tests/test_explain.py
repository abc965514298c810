"""Groups, confused emotions, the arrangement of clips, and the page without the corpora: all from numbers that are known."""

import math
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import librosa
import numpy as np
import pytest
import torch
from conftest import hiss
from mlflow.entities import Metric, Run, RunData, RunInfo, RunTag
from rich.console import Console
from sklearn.metrics import silhouette_score
from torch import Tensor, nn

from emotion_lightning.config import loader as settings
from emotion_lightning.explain import embedding, groups, mel, page
from emotion_lightning.explain.source import Explained
from emotion_lightning.models import Network
from emotion_lightning.training.classifier import EmotionClassifier
from emotion_lightning.training.predictions import Predictions

CLASSES = ("neutral", "happy", "sad")
TRUE = ["happy"] * 5 + ["sad"] * 4 + ["neutral"]
GUESSED = ["happy", "happy", "sad", "sad", "neutral", "sad", "sad", "sad", "happy", "neutral"]
SURE = [0.9, 0.8, 0.7, 0.95, 0.6, 0.5, 0.5, 0.5, 0.99, 0.5]
SPEAKERS = ["s1"] * 4 + ["s2"] * 6


def predictions(**fields: list[str]) -> Predictions:
    probabilities = np.array([[(1 - p) / 2] * 3 for p in SURE])
    probabilities[np.arange(10), [CLASSES.index(g) for g in GUESSED]] = SURE
    labels, names = np.array([CLASSES.index(e) for e in TRUE]), [f"c/{i}" for i in range(10)]
    known = {"corpus": ["c"] * 10, "sex": [""] * 10, "intensity": [""] * 10, "sentence": [""] * 10}
    return Predictions(CLASSES, names, SPEAKERS, labels, probabilities, {**known, **fields})


@pytest.mark.parametrize(("right", "clips"), [(0, 5), (3, 10), (40, 60), (7, 7)])
def test_the_interval_is_wilsons(right: int, clips: int) -> None:
    z, share = 1.959964, right / clips
    centre = (share + z**2 / (2 * clips)) / (1 + z**2 / clips)
    reach = z / (1 + z**2 / clips) * math.sqrt(share * (1 - share) / clips + z**2 / (4 * clips**2))
    assert groups.wilson(right, clips) == pytest.approx((centre - reach, centre + reach), abs=1e-6)


def test_groups_are_those_counted_by_hand() -> None:
    first, second = groups.by_field(predictions(), "speaker")
    assert (first.name, first.clips, first.accuracy, first.uar, first.emotions) == ("s1", 4, 0.5, 0.5, 1)
    assert (second.name, second.clips, second.accuracy) == ("s2", 6, pytest.approx(4 / 6))
    assert second.uar == pytest.approx((0 / 1 + 3 / 4 + 1 / 1) / 3) and second.emotions == 3


def test_a_field_with_one_value_has_no_groups_and_unknown_values_are_a_group() -> None:
    assert groups.by_field(predictions(), "sex") == []
    found = groups.by_field(predictions(intensity=["strong"] * 5 + [""] * 5), "intensity")
    assert {group.name: group.clips for group in found} == {"strong": 5, "not given": 5}


def test_sentences_count_within_their_corpus_and_rare_ones_are_one_group() -> None:
    of_two = predictions(corpus=["a"] * 4 + ["b"] * 6, sentence=["1"] * 8 + ["2", "3"])
    found = {group.name: group.clips for group in groups.by_field(of_two, "sentence")}
    assert found == {"a 1": 4, "b 1": 4, "2 with fewer than 4 clips each": 2}


def test_confused_emotions_are_counted_by_hand() -> None:
    found = [(pair.true, pair.predicted, pair.count, pair.share) for pair in groups.confused(predictions())]
    assert found == [("happy", "sad", 2, 0.4), ("sad", "happy", 1, 0.25), ("happy", "neutral", 1, 0.2)]


def test_the_mel_axis_is_librosas() -> None:
    frequencies = np.array([0.0, 100, 999, 1000, 1001, 4000, 8000])
    assert mel.mel(frequencies) == pytest.approx(librosa.hz_to_mel(frequencies))
    shares = librosa.hz_to_mel(frequencies) / librosa.hz_to_mel(8000)
    assert mel.hertz(shares, 16_000) == pytest.approx(frequencies, abs=0.5)


def test_the_spectrogram_has_a_tone_in_the_band_of_the_tone() -> None:
    time = np.arange(16_000) / 16_000
    levels = mel.spectrogram(np.sin(2 * np.pi * 2000 * time).astype(np.float32), 16_000)
    centre = (levels.mean(1).argmax() + 0.5) / len(levels)
    assert mel.hertz(centre, 16_000) == pytest.approx(2000, rel=0.05)


class TwoLayers(Network):
    """Its linear layers are registered in the wrong order, so that only their calls tell which one is last."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body = nn.Linear(4, 3), nn.Linear(20, 4)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        return self.head(self.body(x.mean(3)[:, 0]).relu())


class NoLinear(Network):
    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        return x.mean(3)[:, 0, :3]


class ClipsInMemory:
    """Stored features (N, C, F, T) in batches, as EmotionData gives them."""

    def __init__(self, stored: Tensor):
        self.stored = stored

    def loader(self, index: np.ndarray) -> list[Tensor]:
        return list(torch.from_numpy(index).split(4))

    def gather(self, index: Tensor, device: torch.device) -> SimpleNamespace:
        return SimpleNamespace(labels=index, stored=self.stored[index], valid=torch.ones(len(index)))


def classifier(network: Network, features: dict[str, object], shape: tuple[int, int, int]) -> EmotionClassifier:
    tree = {"name": "made", "corpora": {"demo": {}}, "protocol": {"name": "random"}, "model": {"name": "small_cnn"}}
    experiment = settings.check({**tree, "features": features})
    feature = settings.parts.entry("features", experiment.features.name)(16_000, **experiment.features.args)
    return EmotionClassifier(experiment, feature, network, shape, CLASSES).eval()


@torch.no_grad()
def test_a_network_is_represented_by_the_input_of_the_linear_layer_that_is_called_last() -> None:
    network, stored = TwoLayers(), torch.randn(10, 1, 20, 5)
    model = classifier(network, {"name": "mfcc"}, (1, 20, 5))
    values, about = embedding.represent(model, ClipsInMemory(stored), np.arange(10))
    expected = nn.functional.linear(stored.mean(3)[:, 0], network.body.weight, network.body.bias).relu()
    assert values == pytest.approx(expected.numpy(), abs=1e-5) and "4 values" in about


@torch.no_grad()
def test_a_network_without_a_linear_layer_is_represented_by_its_log_probabilities() -> None:
    stored = torch.randn(10, 1, 20, 5)
    model = classifier(NoLinear(), {"name": "mfcc"}, (1, 20, 5))
    values, _ = embedding.represent(model, ClipsInMemory(stored), np.arange(10))
    assert values == pytest.approx(stored.mean(3)[:, 0, :3].log_softmax(1).numpy(), abs=1e-5)


def test_silhouettes_tell_speakers_from_emotions() -> None:
    chance = np.random.default_rng(0)
    speakers, emotions = ["a", "b"] * 20, ["x"] * 20 + ["y"] * 20
    values = np.array([[5.0 * (s == "a"), 0.0] for s in speakers]) + 0.1 * chance.standard_normal((40, 2))
    by_speaker, by_emotion = embedding.silhouette(values, speakers), embedding.silhouette(values, emotions)
    assert by_speaker == pytest.approx(silhouette_score(values, speakers)) and by_speaker > 0.9 > 0.1 > by_emotion
    assert "by speaker more than by emotion." in page.silhouette_sentence(by_emotion, by_speaker)
    assert embedding.silhouette(values, ["a"] * 40) is None


class Tags(HTMLParser):
    """Collects what is opened and closed, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def shown(self) -> str:
        return " ".join(" ".join(self.text).split())


def parsed(file: Path) -> Tags:
    tags = Tags()
    tags.feed(file.read_text(encoding="utf-8"))
    assert tags.open == []
    return tags


def explained() -> Explained:
    tree = {"corpora": {"ravdess": {}}, "protocol": {"name": "speaker_folds"}, "data": {"dir": "nowhere"}}
    made = settings.check({**tree, "name": "svm", "features": {"name": "mfcc"}, "model": {"name": "svm"}})
    metrics = {"test/uar": 0.55, "test/speakers": 2, "test/speakers_trained_on": 1}
    data = RunData([Metric(k, v, 0, 0) for k, v in metrics.items()], [], [RunTag("fold", "3")])
    run = Run(RunInfo("0123456789abcdef" * 2, "0", "u", "FINISHED", 0, 1, "active", "", "0123456789abcdef" * 2), data)
    return Explained(run, made, predictions())


def test_the_most_confident_mistakes_are_first() -> None:
    assert page.most_confident(explained(), 3) == [8, 3, 2]


def test_without_the_corpora_the_page_has_its_tables_and_says_what_is_missing(in_tmp_path: Path) -> None:
    file = page.write(explained(), 2, "pca", Console(quiet=True))
    assert file == Path("reports/explain/01234567/index.html")
    found = parsed(file)
    text = found.shown()
    assert "Errors of svm · speaker_folds · fold 3" in text and "UAR" in text and "55.0 %" in text
    assert "1 of the 2 test speakers were trained on" in text and "4 of 10 test clips are wrong" in text
    assert "these are not here: the folder 'nowhere' does not exist" in text
    assert "Do not choose settings by it" in text and "Wilson" in text
    assert [tag for tag, _ in found.attributes].count("article") == 2
    assert {"img", "audio"} & {tag for tag, _ in found.attributes} == set()
    assert "happy → sad" in text and "c/8" in text and "DEMO" not in text


def test_a_page_needs_no_other_file(in_tmp_path: Path) -> None:
    wave = hiss(0.3).astype(np.float32)
    from emotion_lightning.explain import figures

    assert figures.wav(wave, 16_000).startswith("data:audio/wav;base64,UklGR")  # RIFF
    assert figures.png(figures.spectrogram(wave, 16_000)).startswith("data:image/png;base64,iVBOR")
    found = parsed(page.write(explained(), 2, "pca", Console(quiet=True)))
    assert [a for _, a in found.attributes if (a.get("src") or "").startswith(("http", "/"))] == []
