"""Maps of what mattered: models that listen to one known time and band, and the axioms of the methods."""

import numpy as np
import pytest
import torch
from conftest import hiss
from test_explain import classifier
from test_imports import PACKAGE
from torch import Tensor, nn

from emotion_lightning.explain import attribution, figures, maps, mel
from emotion_lightning.explain.maps import Map
from emotion_lightning.models import Network
from emotion_lightning.training.classifier import EmotionClassifier

RATE, BANDS, FRAMES = 16_000, 40, 100
LOG_MEL = {"name": "log_mel", "bands": BANDS, "hop": 160, "frames": FRAMES}  # 1 s
LISTENS = (slice(20, 25), slice(60, 75))  # bands, frames


class Listener(Network):
    """Its logit of class 1 is the mean level in one time and band; the others are 0."""

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        bands, frames = LISTENS
        level = x[:, 0, bands, frames].mean((1, 2)) / 10
        return torch.stack([0 * level, level, 0 * level], 1)


class Bent(Network):
    """Two convolutions with a bend between them, and per-clip statistics."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(1, 6, 5, 2), nn.ReLU(), nn.Conv2d(6, 6, 3, 2), nn.ReLU())
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        y = self.layers(x / 40)
        return self.head(torch.cat([y.mean((2, 3)), y.std((2, 3))], 1))


def noise(seconds: float = 1.0) -> np.ndarray:
    return hiss(seconds).astype(np.float32)


def on_log_mel(network: Network) -> EmotionClassifier:
    return classifier(network, LOG_MEL, (1, BANDS, FRAMES))


def test_integrated_gradients_are_where_the_model_listens_and_nowhere_else() -> None:
    found = attribution.gradients(on_log_mel(Listener()), noise(), 1)
    heard = np.zeros(found.values.shape, bool)
    heard[LISTENS] = True
    assert found.values.shape == (BANDS, FRAMES) and found.seconds == pytest.approx(1.0)
    assert (found.values[heard] > 0).all() and np.abs(found.values[~heard]).max() == 0


def test_integrated_gradients_of_a_linear_model_are_its_weight_times_the_distance_from_silence() -> None:
    model, wave = on_log_mel(Listener()), torch.from_numpy(noise())[None]
    level, _ = model.feature(wave, torch.tensor([wave.shape[1]]))
    expected = (level[0, 0] + 80)[LISTENS] / (5 * 15 * 10)  # silence is -80 dB
    assert attribution.gradients(model, noise(), 1).values[LISTENS] == pytest.approx(expected.numpy(), rel=1e-4)


def test_integrated_gradients_sum_up_to_the_difference_of_the_scores() -> None:
    found = attribution.gradients(on_log_mel(Bent()), noise(), 2)
    assert abs(found.sound - found.silence) > 0.01
    assert found.values.sum() == pytest.approx(found.sound - found.silence, rel=0.02)


def test_a_map_ends_with_the_clip() -> None:
    found = attribution.gradients(on_log_mel(Bent()), noise(0.5), 0)
    assert found.values.shape == (BANDS, 51) and found.seconds == pytest.approx(0.51)


def test_the_map_of_a_picture_has_the_low_bands_first() -> None:
    class Bottom(Network):
        def forward(self, x: Tensor, valid: Tensor) -> Tensor:
            level = x[:, :, -8:, :16].mean((1, 2, 3))  # the last rows of a picture are the low bands
            return torch.stack([level, -level, 0 * level], 1)

    model = classifier(Bottom(), {"name": "picture", "height": 32, "width": 32}, (3, 32, 32))
    values = attribution.gradients(model, noise(), 0).values
    assert np.abs(values[8:]).max() == np.abs(values[:, 16:]).max() == 0 and values[:8, :16].min() > 0


def test_occlusion_finds_where_the_model_listens() -> None:
    found = attribution.occlusion(on_log_mel(Listener()), noise(), 1)
    assert found.values.shape == (8, 6)
    ordered = np.argsort(-found.values, axis=None)
    assert {divmod(int(place), 6) for place in ordered[:2]} == {(4, 3), (4, 4)}  # 0.6 to 0.75 s are in two blocks
    _, second, third = found.values.ravel()[ordered[:3]]
    assert second > 5 * abs(third)


def test_the_method_is_that_of_the_feature() -> None:
    assert attribution.has_gradients(on_log_mel(Bent()))
    assert not attribution.has_gradients(classifier(Bent(), {"name": "mfcc"}, (1, 20, 128)))
    wide = {"name": "picture", "height": 16, "width": 32}
    assert not attribution.has_gradients(classifier(Bent(), wide, (3, 16, 16)))


def test_random_weights_are_new_and_change_the_map() -> None:
    model = on_log_mel(Bent())
    model.hparams["shape"] = [1, BANDS, FRAMES]
    fresh, again, other = (attribution.randomised(model, seed) for seed in (0, 0, 1))
    weights = [
        torch.cat([w.float().flatten() for w in m.network.state_dict().values()]) for m in (fresh, again, other)
    ]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
    assert not fresh.network.training and torch.equal(fresh.mean, model.mean)
    first, second = (attribution.gradients(m, noise(), 0) for m in (fresh, other))
    assert abs(maps.likeness(first, second).signed) < 0.9


def a_map(values: np.ndarray) -> Map:
    return Map(values, 1.2, 0.0, 0.0)


def test_rank_correlation_is_one_for_equal_ranks_and_undefined_for_a_constant_map() -> None:
    values = np.arange(-5.0, 7.0).reshape(3, 4)
    assert maps.likeness(a_map(values), a_map(values**3)) == maps.Likeness(1.0, 1.0)
    assert maps.likeness(a_map(values), a_map(-values)).signed == pytest.approx(-1)
    assert np.isnan(maps.likeness(a_map(values), a_map(np.zeros((3, 4)))).signed)


def test_sums_keep_the_total_and_the_strongest_block_is_named() -> None:
    values = np.random.default_rng(0).standard_normal((40, 96)) / 100
    values[10:15, 24:36] += 1  # of 8 bands the third, of 8 times the third
    values[0, 95] = -30
    found = a_map(values)
    assert found.summed(8, 8).values.sum() == pytest.approx(values.sum())
    assert found.summed(100, 100).values == pytest.approx(values)
    first, *_, last = maps.blocks(found, RATE)
    assert (first.start, first.end) == pytest.approx((0.3, 0.45)) and last.end == pytest.approx(1.2)
    assert mel.mel([first.low, first.high]) / mel.mel(8000) == pytest.approx([2 / 8, 3 / 8], abs=1e-3)
    assert str(first).startswith("0.30 to 0.45 s, 75")


def test_a_map_is_drawn_with_its_sums() -> None:
    figure = figures.attribution(noise(), RATE, a_map(np.eye(8)), "for and against sad")
    assert len(figure.axes) == 3 and figure.axes[0].get_title() == "for and against sad"


def test_only_the_page_of_a_sound_file_needs_captum() -> None:
    files = {file.stem: file.read_text(encoding="utf-8") for file in (PACKAGE / "explain").glob("*.py")}
    assert [name for name, code in files.items() if "captum" in code] == ["attribution"]
    assert {
        name for name, code in files.items() if "import attribution" in code or ".attribution import" in code
    } == {"audio_page"}
    assert [name for name, code in files.items() if "import audio_page" in code] == []
