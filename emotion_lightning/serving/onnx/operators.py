"""Replaces three of torch's functions, while a model is exported, by operations that ONNX Runtime has and computes fast.

The short-time Fourier transform becomes matrix products: ONNX Runtime's own one takes 4 to 15 times as long. An LSTM becomes
that of ONNX, because the exporter would unroll it frame by frame. A picture is resized by products with two matrices.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class Exportable(TorchFunctionMode):
    """Is active in a `with` block, in which a model may also run: it computes the same within the precision of 32 bits."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        settings = kwargs or {}
        if func is torch.stft:
            return stft(*args, **settings)
        if func is torch.lstm:
            return lstm(*args, **settings)
        if func is F.interpolate and settings.get("antialias"):
            return resized(*args, **settings)
        return func(*args, **settings)


def stft(
    waves: Tensor,
    n_fft: int,
    hop_length: int,
    win_length: int | None = None,
    window: Tensor | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    normalized: bool = False,
    onesided: bool | None = None,
    return_complex: bool | None = None,
    align_to_window: bool | None = None,
) -> Tensor:
    """Returns the complex spectrum (B, bins, T) of waveforms (B, samples), as torch.stft does with these arguments."""
    if window is None or len(window) != n_fft or normalized or onesided is False:
        raise NotImplementedError("only a whole window, and half of the spectrum without a scale")
    if center:
        waves = F.pad(waves[:, None], (n_fft // 2, n_fft // 2), mode=pad_mode)[:, 0]
    frames = (waves.shape[1] - n_fft) // hop_length + 1
    places = torch.arange(frames)[:, None] * hop_length + torch.arange(n_fft)
    real, imaginary = fourier(waves[:, places] * window)
    return torch.complex(real, imaginary).transpose(1, 2)


def fourier(x: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the real and the imaginary part (…, n // 2 + 1) of the discrete Fourier transform of (…, n).

    One step of Cooley and Tukey (1965): n = rows · columns, a transform of the columns, factors, a transform of the rows.
    """
    n = x.shape[-1]
    rows = max(divisor for divisor in range(1, math.isqrt(n) + 1) if n % divisor == 0)
    columns = n // rows
    x = x.unflatten(-1, (rows, columns)).transpose(-1, -2)
    cosine, sine = _waves(rows, rows, rows)
    real, imaginary = x @ cosine, -(x @ sine)
    cosine, sine = _waves(columns, rows, n)
    real, imaginary = real * cosine + imaginary * sine, imaginary * cosine - real * sine
    cosine, sine = _waves(columns // 2 + 1, columns, columns)
    real, imaginary = cosine @ real + sine @ imaginary, cosine @ imaginary - sine @ real
    return real.flatten(-2)[..., : n // 2 + 1], imaginary.flatten(-2)[..., : n // 2 + 1]


def _waves(count: int, samples: int, period: int) -> tuple[Tensor, Tensor]:
    """Returns cosine and sine (count, samples): row k turns k times in `period` samples."""
    turns = torch.outer(torch.arange(count), torch.arange(samples)) % period
    angle = turns.double() * (2 * math.pi / period)
    return angle.cos().float(), angle.sin().float()


def lstm(
    x: Tensor,
    states: tuple[Tensor, Tensor],
    weights: list[Tensor],
    has_biases: bool,
    layers: int,
    dropout: float,
    training: bool,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what torch.lstm does for one layer of one direction that starts at zero: outputs (B, T, units) and last states.

    The last state of the cell is not a number, since no model here uses it.
    """
    if layers != 1 or bidirectional or training or not has_biases or not batch_first or len(weights) != 4:
        raise NotImplementedError("only one layer and one direction at a time")
    units = weights[1].shape[1]
    inputs, recurrent, *biases = (_onnx_order(weight) for weight in weights)
    outputs: Tensor = torch.onnx.ops.symbolic(
        "LSTM",
        (x.transpose(0, 1), inputs[None], recurrent[None], torch.cat(biases)[None]),
        {"hidden_size": units},
        dtype=x.dtype,
        shape=(x.shape[1], 1, x.shape[0], units),  # a direction has an axis of its own
        version=14,
    )
    last = outputs[-1]
    return outputs[:, 0].transpose(0, 1), last, torch.full_like(last, math.nan)


def _onnx_order(weight: Tensor) -> Tensor:
    """Reorders the gates (4 · units, …): torch has input, forget, cell, output; ONNX has input, output, forget, cell."""
    gates = weight.chunk(4)
    return torch.cat([gates[0], gates[3], gates[1], gates[2]])


def resized(
    x: Tensor,
    size: tuple[int, int],
    scale_factor: None = None,
    mode: str = "bilinear",
    align_corners: bool | None = None,
    recompute_scale_factor: None = None,
    antialias: bool = True,
) -> Tensor:
    """Returns pictures (B, C, H, W) at another size, as F.interpolate with antialiasing."""
    if mode != "bilinear" or align_corners or scale_factor is not None:
        raise NotImplementedError("only bilinear, to a size")
    height, width = (
        resize_weights(torch.tensor([before]), before, after)[0]
        for before, after in zip(x.shape[2:], size, strict=True)
    )
    return height @ x @ width.T


def resize_weights(counts: Tensor, before: int, after: int) -> Tensor:
    """Returns matrices (B, after, before) that resize the first `counts` (B,) of `before` values to `after` values.

    The filter is torch's: a triangle, as wide as two new or two old values, whichever is wider, at the middle of each new value.
    """
    ratio = counts[:, None, None] / after  # old values in a new one
    middles = ratio * (torch.arange(after)[:, None] + 0.5)
    places = torch.arange(before)
    weights = (1 - (places + 0.5 - middles).abs() / ratio.clamp(min=1)).clamp(min=0)
    weights = weights * (places < counts[:, None, None])
    return weights / weights.sum(2, keepdim=True)
