"""Computes 2012 statistics of a clip: log-mel and MFCC over time, how they vary together, modulation, pitch and energy.

Ours; the free counterpart of openSMILE's functionals. A clip may be computed at several speeds, each as if another person spoke
(Ko et al., Audio Augmentation for Speech Recognition, 2015); models such as `lda` take them as views of one clip.

    640  80 log-mel bands: mean, deviation, 10 %, 50 % and 90 % quantile, three statistics of the change from frame to frame
    320  the same of 40 MFCC
    552  correlations among 24 MFCC, and among their changes
    280  modulation: energy of 20 bands' envelopes in 14 ranges from 0.5 to 40 Hz
    192  24 MFCC in each quarter of the clip: mean relative to the clip, deviation
     28  pitch, voicing, energy and duration
"""

import itertools

import torch
import torchaudio
from torch import Tensor
from torch.nn import functional as F

from emotion_lightning.config.ranges import Speeds
from emotion_lightning.features import Feature, played_at
from emotion_lightning.features._pitch import pitch_and_voicing

BANDS, COEFFICIENTS, FEWER, ENVELOPES = 80, 40, 24, 20
WINDOW, HOP = 0.064, 0.01  # s
SHORTEST = 0.2  # s; a shorter clip is followed by zeros
MODULATION = (0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 40)  # Hz, the edges of the ranges
VALUES = 2012


class Acoustics(Feature):
    """Maps (B, samples) to (B, speeds, 2012, 1)."""

    def __init__(self, sample_rate: int, speeds: tuple[float, ...]):
        super().__init__()
        self.sample_rate, self.speeds = sample_rate, speeds
        self.n_fft, self.hop = round(WINDOW * sample_rate), round(HOP * sample_rate)
        bins = self.n_fft // 2 + 1
        top = min(8000.0, sample_rate / 2)
        bank = torchaudio.functional.melscale_fbanks(
            bins, 40, top, BANDS, sample_rate, norm="slaney", mel_scale="slaney"
        )
        self.register_buffer("bank", bank.T.contiguous())
        self.register_buffer("window", torch.hann_window(self.n_fft))
        self.register_buffer("dct", torchaudio.functional.create_dct(COEFFICIENTS, BANDS, norm="ortho"))  # (bands, C)

    def forward(self, waves: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        rows = [
            torch.stack([self._statistics(self._at_speed(wave[:length], speed)) for speed in self.speeds])
            for wave, length in zip(waves, lengths.tolist(), strict=True)
        ]
        return torch.stack(rows)[..., None], torch.ones(len(waves), device=waves.device)

    def _at_speed(self, wave: Tensor, speed: float) -> Tensor:
        wave = played_at(wave, speed, self.sample_rate)
        return F.pad(wave, (0, max(0, round(SHORTEST * self.sample_rate) - len(wave))))

    def _statistics(self, wave: Tensor) -> Tensor:
        """Returns (2012,) of one clip (samples,)."""
        bins = torch.stft(wave, self.n_fft, self.hop, window=self.get_buffer("window"), return_complex=True)
        log_mel = (self.get_buffer("bank") @ bins.abs().square()).clamp(min=1e-8).log()  # (bands, T)
        mfcc = self.get_buffer("dct").T @ log_mel
        few = mfcc[:FEWER]
        parts = [_over_time(log_mel), _over_time(mfcc), _correlations(few), _correlations(few[:, 2:] - few[:, :-2])]
        parts += [self._modulation(log_mel), _quarters(few), self._prosody(wave, log_mel.mean(0))]
        return torch.cat(parts)

    def _modulation(self, log_mel: Tensor) -> Tensor:
        envelopes = log_mel.reshape(ENVELOPES, -1, log_mel.shape[1]).mean(1)
        envelopes = envelopes - envelopes.mean(1, keepdim=True)
        frames = envelopes.shape[1]
        window = torch.hann_window(frames, periodic=False, device=log_mel.device)
        power = torch.fft.rfft(envelopes * window, 1024).abs().square() / frames  # longer clips are cut at 10 s
        hertz = torch.arange(power.shape[1], device=power.device) / (1024 * HOP)
        ranges = itertools.pairwise(MODULATION)
        return (
            torch.stack([power[:, (hertz >= a) & (hertz < b)].mean(1) for a, b in ranges], 1)
            .add(1e-4)
            .log()
            .flatten()
        )

    def _prosody(self, wave: Tensor, energy: Tensor) -> Tensor:
        """Returns 28 values from pitch and voicing, and from the energy (T,) in nepers."""
        pitch, voicing = pitch_and_voicing(wave, self.get_buffer("window"), self.hop, self.sample_rate)
        count = min(len(pitch), len(energy))
        pitch, voicing, energy = pitch[:count], voicing[:count], energy[:count]
        voiced = (voicing > 0.5) & (energy > energy.quantile(0.3))
        track = pitch[voiced] if voiced.sum() > 5 else pitch
        steps = pitch.diff()[voiced[1:] & voiced[:-1]]
        steps = steps if len(steps) > 5 else torch.zeros(2, device=wave.device)
        strength = voicing[voiced] if voiced.any() else voicing
        slope, bend = _trend(track)
        quantiles = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95], device=wave.device)
        values = [
            track.mean(), track.std(correction=0), slope, bend, voiced.float().mean(), voicing.mean(),
            voicing.std(correction=0), strength.mean(), steps.abs().mean(), steps.std(correction=0), energy.mean(),
            energy.std(correction=0), torch.tensor(float(count), device=wave.device).log(),
            (energy > energy.mean()).float().mean(), _trend(energy)[0],
        ]  # fmt: skip
        rest = [track.quantile(quantiles), energy.quantile(quantiles), voicing.quantile(quantiles[[0, 2, 4]])]
        return torch.cat([torch.stack(values), *rest])


def _over_time(x: Tensor) -> Tensor:
    """Returns eight statistics of each row of (rows, T)."""
    change = x[:, 2:] - x[:, :-2]
    quantiles = x.quantile(torch.tensor([0.1, 0.5, 0.9], device=x.device), dim=1)
    second = change[:, 2:] - change[:, :-2]
    statistics = [x.mean(1), x.std(1, correction=0), *quantiles]
    return torch.cat([*statistics, change.std(1, correction=0), change.abs().mean(1), second.std(1, correction=0)])


def _correlations(x: Tensor) -> Tensor:
    """Returns the correlation of each pair of rows of (rows, T); 0 for a row that does not vary."""
    x = x - x.mean(1, keepdim=True)
    x = x / (x.square().sum(1, keepdim=True).sqrt() + 1e-3)
    first, second = torch.triu_indices(len(x), len(x), 1, device=x.device)
    return (x @ x.T)[first, second]


def _quarters(x: Tensor) -> Tensor:
    """Returns mean, relative to the whole, and deviation of each row of (rows, T) in four parts of the time."""
    parts = x.tensor_split(4, dim=1)
    means = [part.mean(1) - x.mean(1) for part in parts]
    return torch.cat([*means, *(part.std(1, correction=0) for part in parts)])


def _trend(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns slope and bend of (T,): its products with the first two Legendre polynomials of time."""
    time = torch.linspace(-1, 1, len(x), device=x.device)
    return (x * time).mean() * 3, (x * (3 * time.square() - 1) / 2).mean() * 5


def build(sample_rate: int, *, speeds: Speeds = (1.0,)) -> Acoustics:
    """`speeds` are the speeds at which each clip is played."""
    return Acoustics(sample_rate, speeds)
