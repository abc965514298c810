"""Which time and band of a sound mattered for the emotion that a model predicts: two methods of Captum.

Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365) for networks on spectrograms. All other models, whose
features have no bands or no time, get occlusion: blocks of the sound itself are muted, and everything after is computed anew.
"""

import numpy as np
import torch
from captum.attr import FeatureAblation, IntegratedGradients
from numpy.typing import NDArray
from torch import Tensor

from emotion_lightning.config import parts
from emotion_lightning.explain import mel
from emotion_lightning.explain.maps import BANDS, Map, time_blocks
from emotion_lightning.features.log_mel import LogMel
from emotion_lightning.features.log_mel_windows import LogMelWindows
from emotion_lightning.features.picture import Picture
from emotion_lightning.training.classifier import EmotionClassifier
from emotion_lightning.training.inference import Model

STEPS = 64  # points of the integral
WINDOW = 0.032  # s, of the transform in which blocks are muted


def has_gradients(model: Model) -> bool:
    """Returns whether integrated gradients are used: for a network that sees the whole of a spectrogram or its picture."""
    if not isinstance(model, EmotionClassifier):
        return False
    if isinstance(model.feature, Picture):
        height, width = model.feature.shape
        return width <= height  # of a wider one, the network sees a part
    return isinstance(model.feature, LogMel | LogMelWindows)


def attribute(model: Model, wave: NDArray[np.float32], emotion: int) -> Map:
    """Returns the map of a class for a waveform (samples,) at the model's rate."""
    if isinstance(model, EmotionClassifier) and has_gradients(model):
        return gradients(model, wave, emotion)
    return occlusion(model, wave, emotion)


def gradients(model: EmotionClassifier, wave: NDArray[np.float32], emotion: int) -> Map:
    """Integrates the gradients of the logit from silence, the lowest level of each cell, to the sound."""
    stored, valid = model.feature(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
    x, baseline = model.inputs(stored), model.inputs(_silence(model, stored))
    values = IntegratedGradients(model.network).attribute(
        x, baseline, target=emotion, additional_forward_args=(valid,), n_steps=STEPS, internal_batch_size=16
    )
    with torch.no_grad():
        sound, silence = (float(model.network(one, valid)[0, emotion]) for one in (x, baseline))
    cells = values.sum(1)[0].double().numpy()  # over channels
    rate = model.experiment.audio.sample_rate
    if isinstance(model.feature, Picture):
        return Map(cells[::-1].copy(), len(wave) / rate, sound, silence)
    frames = max(1, round(float(valid) * cells.shape[1]))
    return Map(cells[:, :frames], model.feature.used[1] * frames / cells.shape[1], sound, silence)


def _silence(model: EmotionClassifier, stored: Tensor) -> Tensor:
    return torch.full_like(stored, model.feature.floor if isinstance(model.feature, LogMel) else 0)


def occlusion(model: Model, wave: NDArray[np.float32], emotion: int) -> Map:
    """Mutes each block of time and band in turn; its value is the log-probability that the emotion loses by this.

    Blocks are muted in a short-time Fourier transform, which is turned into a waveform again.
    """
    rate, samples = model.experiment.audio.sample_rate, torch.from_numpy(wave)
    n_fft = round(WINDOW * rate)
    hop, window = n_fft // 4, torch.hann_window(n_fft)
    transform = torch.stft(samples, n_fft, hop, window=window, return_complex=True, pad_mode="constant")
    times = time_blocks(len(wave) / rate)
    band = _blocks(mel.mel(np.arange(len(transform)) * rate / n_fft), BANDS, float(mel.mel(rate / 2)))
    time = _blocks(np.arange(transform.shape[1], dtype=np.float64), times, transform.shape[1])

    def log_probability(gains: Tensor) -> Tensor:
        waves = torch.istft(transform * gains[:, band][:, :, time], n_fft, hop, window=window, length=len(wave))
        lengths = torch.full((len(waves),), len(wave))
        return model.probabilities(*model.feature(waves, lengths))[:, emotion].clamp(min=1e-12).log()

    with torch.no_grad():
        gains = torch.ones(1, BANDS, times)
        values = FeatureAblation(log_probability).attribute(gains, 0.0, perturbations_per_eval=8)
        sound = float(log_probability(gains))
    return Map(values[0].double().numpy(), len(wave) / rate, sound, float("nan"))


def _blocks(places: NDArray[np.float64], count: int, end: float) -> Tensor:
    """Returns the number of the block, 0…count - 1, that each place between 0 and `end` is in."""
    return torch.from_numpy(np.minimum(places * count // end, count - 1).astype(np.int64))


def randomised(model: EmotionClassifier, seed: int) -> EmotionClassifier:
    """Returns the classifier with a network of random weights, as before its training; the normaliser stays."""
    shape, arguments = tuple(model.hparams["shape"]), dict(model.experiment.model.args)
    if "weights" in arguments:
        arguments["weights"] = "none"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = parts.entry("models", model.experiment.model.name)(shape, len(model.classes), **arguments)
    fresh = EmotionClassifier(model.experiment, model.feature, network, shape, model.classes)
    fresh.mean.copy_(model.mean)
    fresh.std.copy_(model.std)
    fresh.size = model.size
    return fresh.eval()
