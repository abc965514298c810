"""Which recordings of two sides are one and the same, heard and not read.

Three steps, each on what the one before it left, since 40 000 clips against 160 000 are 6.4 billion pairs: a vector of 96
numbers a clip (the slow part of the fingerprint's two-dimensional cosine transform) and the four most alike; these pairs'
fingerprints frame by frame, at every delay up to 160 ms and every shift in pitch up to 2.7 semitones; the waveforms' harmonics
(harmonics.py).
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

SLOW_BANDS, SLOW_FRAMES = 6, 16  # of the cosine transform
CANDIDATES, LEAST_SLOW = 4, 0.8  # how many a clip, and how alike (cosine) they are at least
LEAST_PRINT = 0.86  # correlation of fingerprints; copies shifted by 2 semitones have 0.86 and more (docs/log.md)
SAME, ALIKE = 0.92, 0.77  # of harmonics: one recording; one recording altered in pitch, or a take very much like it
DELAY = 8  # stored frames of 20 ms
BLOCK = 128  # clips against all others at once: 180 000 others are 92 MB
SHIFTS = (0.0, 1 / 3, 2 / 3, 1.0, -1 / 3, -2 / 3, -1.0)  # bands of 0.23 octaves
MARGIN = 1  # bands at either end that a shift leaves


@dataclass(frozen=True)
class Match:
    """Numbers of two clips, one of each side, and how alike their harmonics are, from ALIKE to 1."""

    a: int
    b: int
    likeness: float


Prints = Callable[[NDArray[np.int64]], NDArray[np.uint8]]
"""Numbers of clips (N,) → their fingerprints (N, bands, frames); a function, so that they can stay on disk."""
Hear = Callable[[int], NDArray[np.float32]]
"""Number of a clip → its waveform (samples,)."""


def matches(prints: Prints, a: NDArray[np.int64], b: NDArray[np.int64], hear: Hear, rate: int) -> list[Match]:
    """The clips of `a` and of `b` (numbers of clips) that sound alike, `rate` in Hz."""
    listened = lru_cache(512)(lambda clip: harmonics.heard(hear(clip), rate))  # a clip has several candidates

    def compared(pair: tuple[int, int]) -> Match:
        return Match(*pair, harmonics.likeness(*map(listened, pair)))

    found = parallel(compared, list(_candidates(prints, a, b)))
    return [match for match in found if match.likeness >= ALIKE]


def _candidates(prints: Prints, a: NDArray[np.int64], b: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    ours, theirs = _slow(prints, a), _slow(prints, b)
    for first in range(0, len(a), BLOCK):
        likeness = ours[first : first + BLOCK] @ theirs.T  # (BLOCK, b)
        values, places = likeness.topk(min(CANDIDATES, len(b)))
        rows, ranks = torch.nonzero(values > LEAST_SLOW, as_tuple=True)
        left, right = a[first + rows.numpy()], b[places[rows, ranks].numpy()]
        for start in range(0, len(left), 256):
            pairs = slice(start, start + 256)
            found = correlations(prints(left[pairs]), prints(right[pairs])) >= LEAST_PRINT
            yield from zip(left[pairs][found].tolist(), right[pairs][found].tolist(), strict=True)


def correlations(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(P, bands, frames) twice → (P,): the highest correlation over delays and shifts in pitch."""
    x, y = (torch.from_numpy(prints).float() for prints in (a, b))
    spectrum = _spectrum(x)  # the same for all shifts
    best: NDArray[np.float32] = torch.stack([_over_delays(spectrum, _moved(y, s)) for s in SHIFTS]).amax(0).numpy()
    return best


def _spectrum(x: Tensor) -> Tensor:
    padded = torch.nn.functional.pad(x[:, MARGIN:-MARGIN], (DELAY, DELAY))
    return torch.fft.rfft(_standard(padded), 2 * padded.shape[-1])


def _over_delays(spectrum: Tensor, y: Tensor) -> Tensor:
    product = torch.fft.irfft((spectrum * _spectrum(y).conj()).sum(1), 2 * (y.shape[-1] + 2 * DELAY))
    return torch.cat([product[:, : DELAY + 1], product[:, -DELAY:]], 1).amax(1)


def _standard(x: Tensor) -> Tensor:
    x = x - x.mean((1, 2), keepdim=True)
    return x / x.square().sum((1, 2), keepdim=True).sqrt().clamp(min=1e-6)


def _moved(x: Tensor, bands: float) -> Tensor:
    """Shifted along the bands, linear between them."""
    place = (torch.arange(x.shape[1]) + bands).clamp(0, x.shape[1] - 1)
    low = place.floor().long()
    high, share = (low + 1).clamp(max=x.shape[1] - 1), (place - low)[None, :, None]
    return x[:, low] * (1 - share) + x[:, high] * share


def _slow(prints: Prints, index: NDArray[np.int64]) -> Tensor:
    """(index, 96) float32 of length one: the transform's slowest coefficients, the mean left out."""
    bands, frames = (
        _cosines(count, n) for count, n in zip((SLOW_BANDS, SLOW_FRAMES), prints(index[:1]).shape[1:], strict=True)
    )
    out = torch.empty(len(index), SLOW_BANDS * SLOW_FRAMES)
    for first in range(0, len(index), 1024):
        block = torch.from_numpy(prints(index[first : first + 1024])).float()
        out[first : first + 1024] = (bands @ block @ frames.T).flatten(1)
    out[:, 0] = 0
    return torch.nn.functional.normalize(out, dim=1)


def _cosines(count: int, n: int) -> Tensor:
    """(count, n): the first `count` rows of the orthonormal DCT-II."""
    angles = torch.pi / n * (torch.arange(n) + 0.5) * torch.arange(count)[:, None]
    rows = angles.cos() * (2 / n) ** 0.5
    rows[0] *= 0.5**0.5
    return rows
