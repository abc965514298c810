"""What every model keeps to, network or scikit-learn estimator, and the LSTM."""

from typing import Any, cast

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import Tensor, nn

from emotion_lightning.config import parts
from emotion_lightning.errors import UserError
from emotion_lightning.models import Network, lstm, svm

CLASSES = 8
SHAPES = [(1, 40, 64), (3, 64, 64)]
SMALL: dict[str, dict[str, Any]] = {
    "timm_backbone": {"backbone": "resnet10t", "weights": "none"},
    "cnn1d_attention": {"width": 16},
    "encoder_layers": {"weights": "none", "count": 1},
}
"""Arguments under which a model is small and needs no download; a model that is so by default has none here."""

ON_SHAPES = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))


def built(name: str, shape: tuple[int, int, int], seed: int = 0) -> Network:
    torch.manual_seed(seed)
    arguments = {"bands": (16, shape[1] - 20, 4), "width": 16} if name == "fusion" else SMALL.get(name, {})
    return cast(Network, parts.entry("models", name)(shape, CLASSES, **arguments))


def is_network(name: str) -> bool:
    return isinstance(built(name, SHAPES[0]), Network)


NETWORKS = [name for name in parts.names("models") if is_network(name)]
ESTIMATORS = sorted(set(parts.names("models")) - set(NETWORKS))
ON_MODELS = pytest.mark.parametrize("name", NETWORKS)
ON_ESTIMATORS = pytest.mark.parametrize("name", ESTIMATORS)


def made_up(shape: tuple[int, int, int], clips: int = 4) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(0)
    return torch.randn(clips, *shape, generator=chance), torch.linspace(0.5, 1.0, clips)


# ---------------------------------------------------------------- every network


@ON_SHAPES
@ON_MODELS
def test_a_model_gives_a_logit_for_each_class(name: str, shape: tuple[int, int, int]) -> None:
    for mode in (True, False):
        logits = built(name, shape).train(mode)(*made_up(shape))
        assert logits.shape == (4, CLASSES)
        assert logits.isfinite().all()


@ON_SHAPES
@ON_MODELS
def test_one_step_changes_every_layer_group(name: str, shape: tuple[int, int, int]) -> None:
    network = built(name, shape).train()
    before = [[p.detach().clone() for p in group] for group in network.layer_groups()]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.0)
    nn.functional.cross_entropy(network(*made_up(shape)), torch.arange(4)).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
    optimizer.step()
    for old, new in zip(before, network.layer_groups(), strict=True):
        assert any(not torch.equal(a, b) for a, b in zip(old, new, strict=True))


def assert_groups_cover(network: Network) -> None:
    grouped = [id(p) for group in network.layer_groups() for p in group]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(p) for p in network.parameters()}
    assert all(network.layer_groups())


@ON_MODELS
def test_layer_groups_hold_every_parameter_once(name: str) -> None:
    assert_groups_cover(built(name, SHAPES[1]))


@ON_MODELS
def test_a_clips_logits_do_not_depend_on_its_batch(name: str) -> None:
    network = built(name, SHAPES[1]).eval()
    x, valid = made_up(SHAPES[1])
    with torch.no_grad():
        alone = torch.cat([network(x[i : i + 1], valid[i : i + 1]) for i in range(4)])
        torch.testing.assert_close(network(x, valid), alone, atol=1e-4, rtol=1e-4)


@ON_MODELS
def test_a_trained_state_fits_a_network_built_again(name: str) -> None:
    network = built(name, SHAPES[1])
    network(*made_up(SHAPES[1]))  # batch norms have seen something
    again = built(name, SHAPES[1], seed=1)
    again.load_state_dict(network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(*made_up(SHAPES[1])), network.eval()(*made_up(SHAPES[1])))


# ---------------------------------------------------------------- every scikit-learn estimator


def features_of(classes: int, clips: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """(N, 1, 6, 10) features that tell the classes apart, NaN behind each clip's end, and labels (N,)."""
    chance = np.random.default_rng(0)
    labels = np.arange(clips) % classes
    x = chance.normal(size=(clips, 1, 6, 10)).astype(np.float32) + labels[:, None, None, None]
    x[::2, ..., 7:] = np.nan
    return x, labels


def scores_of(estimator: Any, x: np.ndarray) -> np.ndarray:
    """(N, classes) probabilities or decision values."""
    return (estimator.predict_proba if hasattr(estimator, "predict_proba") else estimator.decision_function)(x)


def fit(estimator: Any, x: np.ndarray, labels: np.ndarray) -> None:
    """Fits with ten speakers, where the estimator searches over folds of speakers."""
    estimator.fit(x, labels, **({"groups": np.arange(len(x)) // 6} if isinstance(estimator, GridSearchCV) else {}))


@ON_ESTIMATORS
def test_an_estimator_scores_each_class_and_finds_it(name: str) -> None:
    estimator = parts.entry("models", name)((1, 6, 10), 3)
    x, labels = features_of(3)
    fit(estimator, x, labels)
    assert scores_of(estimator, x).shape == (60, 3)
    assert (scores_of(estimator, x).argmax(1) == labels).mean() > 0.9


@ON_ESTIMATORS
def test_an_estimator_does_not_see_what_comes_after_a_clip(name: str) -> None:
    estimator = parts.entry("models", name)((1, 6, 10), 3)
    x, labels = features_of(3)
    fit(estimator, x, labels)
    assert np.array_equal(scores_of(estimator, x[::2]), scores_of(estimator, x[::2, ..., :7]))


def test_lda_averages_the_log_probabilities_of_layers_and_views() -> None:
    chance = np.random.default_rng(1)
    labels = chance.integers(0, 3, 90)
    x = chance.normal(size=(90, 4, 5, 1)).astype(np.float32)
    x += 0.5 * labels[:, None, None, None]
    ours = parts.entry("models", "lda")((4, 5, 1), 3, views=2, shrinkage=0.2).fit(x, labels)
    expected = np.zeros((90, 3))
    for layer in (x[:, :2, :, 0], x[:, 2:, :, 0]):
        plain = make_pipeline(
            StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.2, priors=[1 / 3] * 3)
        ).fit(np.concatenate([layer[:, 0], layer[:, 1]]), np.tile(labels, 2))
        expected += sum(np.log(plain.predict_proba(layer[:, view])) for view in (0, 1)) / 4
    np.testing.assert_allclose(ours.decision_function(x), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(UserError, match=r"model.views: 4 channels cannot be divided into layers of 3 views"):
        parts.entry("models", "lda")((4, 5, 1), 3, views=3)


def test_the_search_chooses_a_channel_on_folds_of_training_speakers() -> None:
    """Channel 1 tells the emotions apart. Channel 0 tells speakers and emotions apart together, which no other speaker shares."""
    chance = np.random.default_rng(1)
    speakers, labels = np.repeat(np.arange(8), 12), np.tile(np.arange(3), 32)
    own = chance.normal(size=(8, 3, 6))  # of each speaker and emotion
    x = chance.normal(size=(96, 2, 6, 1)).astype(np.float32)
    x[:, 0, :, 0] = 6 * own[speakers, labels] + 0.1 * chance.normal(size=(96, 6))
    x[:, 1] += 0.7 * labels[:, None, None]
    search = parts.entry("models", "svm_search")((2, 6, 1), 3, folds=4)
    search.fit(x, labels, groups=speakers)
    assert search.best_params_["channel__channel"] == 1
    search.cv = KFold(4, shuffle=True, random_state=0)  # by clip, the other channel wins
    assert search.fit(x, labels).best_params_["channel__channel"] == 0


def test_the_search_takes_a_linear_kernel() -> None:
    x, speakers = np.random.default_rng(0).normal(size=(60, 1, 4, 1)).astype(np.float32), np.repeat(np.arange(6), 10)
    labels = (x[:, 0, 0, 0] > 0).astype(int)
    search = parts.entry("models", "svm_search")((1, 4, 1), 2, C=(1.0,), kernel="linear", folds=3)
    plain = make_pipeline(StandardScaler(), SVC(kernel="linear", C=1.0)).fit(x[:, 0, :, 0], labels)
    found = search.fit(x, labels, groups=speakers).decision_function(x)
    assert np.array_equal(found, plain.decision_function(x[:, 0, :, 0]))


def test_the_svm_is_scikit_learns_and_decides_by_its_highest_value() -> None:
    chance = np.random.default_rng(1)
    x, labels = chance.normal(size=(120, 1, 6, 10)).astype(np.float32), chance.integers(0, 4, 120)
    x[:, 0] += labels[:, None, None] * 0.2  # hard: votes tie
    ours = svm.build((1, 6, 10), 4, C=2.0).fit(x, labels)
    plain = make_pipeline(StandardScaler(), SVC(C=2.0, gamma=1 / 6, break_ties=True)).fit(x.mean(3)[:, 0], labels)
    assert 0.4 < (plain.predict(x.mean(3)[:, 0]) == labels).mean() < 1.0
    assert np.array_equal(ours.decision_function(x).argmax(1), plain.predict(x.mean(3)[:, 0]))
    assert np.array_equal(ours.predict(x), plain.predict(x.mean(3)[:, 0]))


# ---------------------------------------------------------------- the LSTM


def test_the_lstm_is_torchs_bidirectional_one_over_packed_sequences() -> None:
    torch.manual_seed(0)
    ours, theirs = lstm.build((1, 20, 50), CLASSES, hidden=16).eval(), nn.LSTM(20, 16, 2, True, True, 0.0, True)
    for layer in range(2):
        for suffix, modules in (("", ours.forwards), ("_reverse", ours.backwards)):
            for name, value in modules[layer].named_parameters():
                theirs.get_parameter(name.removesuffix("_l0") + f"_l{layer}{suffix}").data.copy_(value)
    x, valid = torch.randn(5, 1, 20, 50), torch.tensor([1.0, 0.5, 0.26, 0.02, 0.9])
    packed = nn.utils.rnn.pack_padded_sequence(
        x[:, 0].transpose(1, 2), (valid * 50).round().long(), batch_first=True, enforce_sorted=False
    )
    _, (state, _) = theirs(packed)
    torch.testing.assert_close(ours(x, valid), ours.head(torch.cat([state[-2], state[-1]], 1)))


def test_the_lstm_does_not_see_what_comes_after_a_clip() -> None:
    network = lstm.build((1, 20, 50), CLASSES, hidden=16).eval()
    x, valid = torch.randn(2, 1, 20, 50), torch.tensor([0.5, 1.0])
    before = network(x, valid)
    x[:, :, :, 25:] += 100.0
    after = network(x, valid)
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])
