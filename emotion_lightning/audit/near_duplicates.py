"""Finds recordings that occur on two splits, by audio content.

40 000 clips against 160 000 are 6.4 billion pairs, so there are three steps, and each examines only the pairs that
passed the step before:

1. A vector of 96 numbers for each clip (the low frequencies of the fingerprint's two-dimensional cosine transform)
   selects the four most similar clips. A second vector, of magnitudes over time, adds one: it does not change where a
   fingerprint begins later, because a little noise made a quiet first sound fall below the threshold.
2. The fingerprints of these pairs are correlated frame by frame, at every delay up to 160 ms and every pitch shift up to
   2.7 semitones.
3. The harmonics of the two waveforms decide (harmonics.py).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from emotion_lightning.audit import harmonics
from emotion_lightning.data.filesystem import parallel

COARSE_BANDS, COARSE_FRAMES = 6, 16  # coefficients that are used along each axis
CANDIDATES, LEAST_COSINE = (4, 1), 0.8  # for each clip: how many by each vector, and their lowest cosine similarity
LEAST_CORRELATION = 0.86  # of fingerprints; copies shifted by 2 semitones have 0.86 and more (docs/log.md)
SAME_RECORDING, SIMILAR = 0.92, 0.77  # of harmonics; between the two: altered in pitch, or a very similar take
DELAY = 8  # stored frames of 20 ms
BLOCK = 128  # clips compared with all others at once: with 180 000 others, 92 MB
SHIFTS = (0.0, 1 / 3, 2 / 3, 1.0, -1 / 3, -2 / 3, -1.0)  # bands of 0.23 octaves
MARGIN = 1  # bands at each end that a shift leaves undefined


@dataclass(frozen=True)
class Match:
    """Indices of two clips, one from each split, and the similarity of their harmonics, from SIMILAR to 1."""

    a: int
    b: int
    similarity: float


Fingerprints = Callable[[NDArray[np.int64]], NDArray[np.uint8]]
"""Maps indices of clips (N,) to their fingerprints (N, bands, frames). A function, so that they can stay on disk."""
LoadWaveform = Callable[[int], NDArray[np.float32]]
"""Maps the index of a clip to its waveform (samples,)."""


def matches(
    fingerprints: Fingerprints, a: NDArray[np.int64], b: NDArray[np.int64], load_waveform: LoadWaveform, rate: int
) -> list[Match]:
    """Returns the pairs of a clip in `a` and a clip in `b` (indices of clips) with similar audio. `rate` is in Hz."""
    spectrum = lru_cache(512)(  # a clip has several candidates
        lambda clip: harmonics.harmonic_spectrum(load_waveform(clip), rate)
    )

    def compare(pair: tuple[int, int]) -> Match:
        return Match(*pair, harmonics.similarity(*map(spectrum, pair)))

    compared = parallel(compare, list(_candidates(fingerprints, a, b)))
    return [match for match in compared if match.similarity >= SIMILAR]


def _candidates(fingerprints: Fingerprints, a: NDArray[np.int64], b: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yields the pairs of clips that pass the first two steps."""
    coarse_a, coarse_b = _coarse(fingerprints, a), _coarse(fingerprints, b)
    for first in range(0, len(a), BLOCK):
        found = []
        for vectors_a, vectors_b, count in zip(coarse_a, coarse_b, CANDIDATES, strict=True):
            cosines = vectors_a[first : first + BLOCK] @ vectors_b.T  # (BLOCK, b)
            values, columns = cosines.topk(min(count, len(b)))
            rows, ranks = torch.nonzero(values > LEAST_COSINE, as_tuple=True)
            found.append(torch.stack([rows, columns[rows, ranks]], 1))
        rows, columns = torch.cat(found).unique(dim=0).T
        left, right = a[first + rows.numpy()], b[columns.numpy()]
        for start in range(0, len(left), 256):
            pairs = slice(start, start + 256)
            passed = correlations(fingerprints(left[pairs]), fingerprints(right[pairs])) >= LEAST_CORRELATION
            yield from zip(left[pairs][passed].tolist(), right[pairs][passed].tolist(), strict=True)


def correlations(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns the highest correlation over delays and pitch shifts (P,) of two stacks of fingerprints.

    Both stacks have the shape (P, bands, frames); fingerprint i of one is compared with fingerprint i of the other.
    """
    x, y = (torch.from_numpy(stack).float() for stack in (a, b))
    spectrum = _spectrum(x)  # the same for all shifts
    by_shift = [_over_delays(spectrum, _shifted(y, shift)) for shift in SHIFTS]
    best: NDArray[np.float32] = torch.stack(by_shift).amax(0).numpy()
    return best


def _spectrum(x: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(x[:, MARGIN:-MARGIN], (DELAY, DELAY))
    return torch.fft.rfft(_normalised(padded), 2 * padded.shape[-1])


def _over_delays(spectrum: Tensor, y: Tensor) -> Tensor:
    correlation = torch.fft.irfft((spectrum * _spectrum(y).conj()).sum(1), 2 * (y.shape[-1] + 2 * DELAY))
    return torch.cat([correlation[:, : DELAY + 1], correlation[:, -DELAY:]], 1).amax(1)


def _normalised(x: Tensor) -> Tensor:
    """Returns `x` with mean zero and norm one over bands and frames."""
    x = x - x.mean((1, 2), keepdim=True)
    return x / x.square().sum((1, 2), keepdim=True).sqrt().clamp(min=1e-6)


def _shifted(x: Tensor, bands: float) -> Tensor:
    """Shifts `x` along the bands, with linear interpolation."""
    position = (torch.arange(x.shape[1]) + bands).clamp(0, x.shape[1] - 1)
    low = position.floor().long()
    high, share = (low + 1).clamp(max=x.shape[1] - 1), (position - low)[None, :, None]
    return x[:, low] * (1 - share) + x[:, high] * share


def _coarse(fingerprints: Fingerprints, index: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Returns two stacks of vectors (index, 96) float32 of norm one.

    The first holds the lowest frequencies of the cosine transform over bands and time, without the mean. The second holds
    the magnitudes of the Fourier transform over time instead, which a delay does not change.
    """
    bands, frames = (
        _cosines(count, n)
        for count, n in zip((COARSE_BANDS, COARSE_FRAMES), fingerprints(index[:1]).shape[1:], strict=True)
    )
    cosines, magnitudes = (torch.empty(len(index), COARSE_BANDS * COARSE_FRAMES) for _ in range(2))
    for first in range(0, len(index), 1024):
        block = bands @ torch.from_numpy(fingerprints(index[first : first + 1024])).float()  # (block, 6, frames)
        cosines[first : first + 1024] = (block @ frames.T).flatten(1)
        waves = torch.fft.rfft(block, 2 * block.shape[-1])[..., :COARSE_FRAMES]
        magnitudes[first : first + 1024] = waves.abs().flatten(1)
    cosines[:, 0] = magnitudes[:, 0] = 0
    return torch.nn.functional.normalize(cosines, dim=1), torch.nn.functional.normalize(magnitudes, dim=1)


def _cosines(count: int, n: int) -> Tensor:
    """Returns (count, n): the first `count` rows of the orthonormal DCT-II."""
    angles = torch.pi / n * (torch.arange(n) + 0.5) * torch.arange(count)[:, None]
    rows = angles.cos() * (2 / n) ** 0.5
    rows[0] *= 0.5**0.5
    return rows
