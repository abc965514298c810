"""The operations that replace torch's at export, against torch and scikit-learn; no ONNX is needed for them."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from torch.nn import functional as F

from emotion_lightning.errors import UserError
from emotion_lightning.features import _speech_encoders, acoustics, encoder, joined, log_mel, picture
from emotion_lightning.models.lda import LayerLDA
from emotion_lightning.models.svm import mean, mean_std
from emotion_lightning.models.svm_search import Channel
from emotion_lightning.serving.onnx.estimators import as_module
from emotion_lightning.serving.onnx.features import BatchedWhisper, batched
from emotion_lightning.serving.onnx.operators import Exportable, fourier, resize_weights

LENGTHS = (16_000, 9_000, 700)


def voices() -> tuple[torch.Tensor, torch.Tensor]:
    """Noise (3, 16000) whose level varies, followed by zeros, and the lengths (3,)."""
    generator = torch.Generator().manual_seed(0)
    waves = torch.randn(len(LENGTHS), max(LENGTHS), generator=generator) * torch.linspace(0.3, 0.01, max(LENGTHS))
    lengths = torch.tensor(LENGTHS)
    return waves * (torch.arange(max(LENGTHS)) < lengths[:, None]), lengths


@pytest.mark.parametrize("n", [16, 400, 1024, 31])
def test_the_fourier_transform_is_that_of_numpy(n: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, n)).astype(np.float32)
    real, imaginary = fourier(torch.from_numpy(x))
    expected = np.fft.rfft(x)
    np.testing.assert_allclose(real.numpy() + 1j * imaginary.numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(("n_fft", "centred"), [(512, True), (400, False)])
def test_the_spectrum_is_that_of_torch(n_fft: int, centred: bool) -> None:
    arguments = {"window": torch.hann_window(n_fft), "center": centred, "return_complex": True}
    expected = torch.stft(voices()[0], n_fft, 128, **arguments)
    with Exportable():
        found = torch.stft(voices()[0], n_fft, 128, **arguments)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(20, 30), (64, 100), (7, 200)])
def test_a_resized_picture_is_that_of_torch(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, 33, 80)
    expected = F.interpolate(x, size, mode="bilinear", antialias=True)
    with Exportable():
        found = F.interpolate(x, size, mode="bilinear", antialias=True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_only_the_first_values_of_a_clip_are_resized() -> None:
    x = torch.rand(1, 1, 1, 50)
    expected = F.interpolate(x[..., :20], (1, 32), mode="bilinear", antialias=True)
    found = x[0, 0] @ resize_weights(torch.tensor([20]), 50, 32)[0].T
    torch.testing.assert_close(found, expected[0, 0], atol=1e-6, rtol=0)


def test_a_picture_of_a_batch_is_that_of_each_clip() -> None:
    feature = picture.build(16_000, height=64, width=48, bands=32)
    replaced = batched(feature)
    assert replaced
    found, expected = replaced(*voices())[0].int(), feature(*voices())[0].int()
    assert (found - expected).abs().max() <= 1  # a value between two levels may be rounded to the other one
    assert (found != expected).float().mean() < 0.001


@pytest.mark.parametrize(("pool", "speeds"), [("frames", (1.0,)), ("statistics", (1.0, 0.9, 1.1))])
def test_whisper_on_a_batch_is_whisper_on_each_clip(pool: encoder.Pool, speeds: tuple[float, ...]) -> None:
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    feature = encoder.Encoder.__new__(encoder.Encoder)  # without its weights, which a machine may not have
    torch.nn.Module.__init__(feature)
    whisper = _speech_encoders.Whisper(_speech_encoders._random_whisper(64, 2, 80)).eval()
    feature.layers, feature.pool, feature.speeds = (0, 1, 2), pool, speeds
    feature.samples, feature.frames = 12_000, 38
    feature._loaded, feature._computes_in_bf16 = [whisper], False
    with torch.no_grad():
        (found, found_valid), (expected, valid) = BatchedWhisper(feature, whisper)(*voices()), feature(*voices())
    torch.testing.assert_close(found.float(), expected.float(), atol=2e-3 if pool == "frames" else 1e-4, rtol=0)
    torch.testing.assert_close(found_valid, valid)


def test_a_feature_that_goes_clip_by_clip_has_no_form_for_a_batch() -> None:
    assert batched(acoustics.build(16_000)) is None
    parts = {"log_mel": {"bands": 20}, "prosody": {"hop": 128, "frames": 400}}
    assert batched(joined.build(16_000, of=parts)) is None
    whole = batched(joined.build(16_000, of={"log_mel": {}, "mfcc": {"frames": 400, "hop": 128}}))
    assert whole and whole(*voices())[0].shape == (3, 1, 148, 400)
    plain = log_mel.build(16_000)
    assert batched(plain) is plain


def clips(classes: int) -> tuple[np.ndarray, torch.Tensor, np.ndarray]:
    """Features (60, 2, 5, 8) with NaN after each clip's end, the mask (60, 8), and labels (60,)."""
    random = np.random.default_rng(classes)
    labels = np.arange(60) % classes
    x = random.standard_normal((60, 2, 5, 8)).astype(np.float32) + labels[:, None, None, None] * 0.3
    mask = np.arange(8) < random.integers(3, 9, 60)[:, None]
    return np.where(mask[:, None, None], x, np.nan).astype(np.float32), torch.from_numpy(mask), labels


@pytest.mark.parametrize("classes", [2, 3, 6])
@pytest.mark.parametrize("kind", ["svm", "svm_std", "linear", "channel", "lda", "logistic"])
def test_a_module_gives_the_values_of_scikit_learn(kind: str, classes: int) -> None:
    x, mask, labels = clips(classes)
    estimator = {
        "svm": make_pipeline(FunctionTransformer(mean), StandardScaler(), SVC(break_ties=True, gamma="auto")),
        "svm_std": make_pipeline(FunctionTransformer(mean_std), StandardScaler(), SVC(C=10)),
        "linear": make_pipeline(Channel(0), StandardScaler(), SVC(kernel="linear", C=0.1)),
        "channel": make_pipeline(Channel(1), StandardScaler(), SVC()),
        "lda": LayerLDA(views=1, shrinkage=0.3),
        "logistic": make_pipeline(Channel(0), StandardScaler(), LogisticRegression()),
    }[kind].fit(x, labels)
    if kind == "logistic":
        expected = np.log(estimator.predict_proba(x))
    else:
        expected = estimator.decision_function(x)
        expected = np.stack([-expected, expected], 1) if expected.ndim == 1 else expected
    found = as_module(estimator)(torch.from_numpy(np.nan_to_num(x)), mask)
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-5, rtol=1e-4)


def test_an_unknown_estimator_is_refused_by_name() -> None:
    with pytest.raises(UserError, match="KNeighborsClassifier"):
        from sklearn.neighbors import KNeighborsClassifier

        as_module(KNeighborsClassifier())
