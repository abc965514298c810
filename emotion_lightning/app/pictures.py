"""Pictures of a recording for the page. They are inside the page as data: addresses, so no file of them is left on the disk."""

from base64 import b64encode
from html import escape
from io import BytesIO

import numpy as np
import torch
from matplotlib.figure import Figure

from emotion_lightning.data.audio import Waveform
from emotion_lightning.features import log_mel

BANDS, WINDOW, HOP = 80, 0.032, 0.008  # the last two in seconds
MOST_FRAMES = 1500  # more cannot be seen; of a long recording, the hop is longer
WIDTH = 5.5  # inches: the text can be read on a telephone, and is not large on a screen
TICKS = (250, 500, 1000, 2000, 4000, 8000)  # Hz


def spectrogram(wave: Waveform, rate: int) -> Figure:
    """Draws the log-mel spectrogram of a waveform (samples,) at `rate` Hz, in dB below its maximum."""
    size, hop = round(WINDOW * rate), max(round(HOP * rate), len(wave) // MOST_FRAMES)
    feature = log_mel.build(rate, bands=BANDS, n_fft=size, hop=hop)
    levels, _ = feature.spectrogram(torch.from_numpy(wave)[None], torch.tensor([len(wave)]))
    figure = Figure(figsize=(WIDTH, 2.3), layout="constrained")
    axes = figure.subplots()
    extent = (0, len(wave) / rate, 0, BANDS)
    drawn = axes.imshow(levels[0].numpy(), origin="lower", aspect="auto", extent=extent, cmap="magma")
    centres = feature.get_buffer("bank").argmax(1).numpy() * rate / size
    shown = [hertz for hertz in TICKS if hertz <= rate / 2]
    axes.set_yticks(np.interp(shown, centres, np.arange(BANDS) + 0.5), [str(hertz) for hertz in shown])
    axes.set(xlabel="seconds", ylabel="Hz")
    figure.colorbar(drawn, label="dB", pad=0.01)
    return figure


def element(figure: Figure, about: str) -> str:
    """Returns an HTML element with the picture; `about` is its text for people who do not see it."""
    figure.set_figwidth(WIDTH)
    content = BytesIO()
    figure.savefig(content, format="png", dpi=160)
    address = f"data:image/png;base64,{b64encode(content.getvalue()).decode()}"
    return f'<img class="picture" alt="{escape(about)}" src="{address}">'
