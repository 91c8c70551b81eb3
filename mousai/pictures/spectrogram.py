"""The log-mel spectrogram of a clip."""

from __future__ import annotations

import math
from pathlib import Path

from torch import Tensor

from mousai.audio.spectral import log_mel
from mousai.pictures.figures import save_png


def spectrogram_png(audio: Tensor, sample_rate: int, path: str | Path, title: str = "", *, new: bool = False) -> None:
    """Draw the log-mel spectrogram of audio `(c, s)`, one panel a channel, 80 dB deep, to a PNG file, whole or not at all; `new` is as of `files.writing`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    levels = log_mel(audio.detach().cpu().float(), sample_rate, bands=128).numpy()
    seconds, top = audio.shape[-1] / sample_rate, levels.max()
    figure = Figure(figsize=(10, 2.6 * len(levels) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(levels), 1, sharex=True, squeeze=False)[:, 0]
    ticks = [100, 300, 1000, 3000, 10000]
    highest = math.log10(1 + sample_rate / 2 / 700)
    for panel, level in zip(panels, levels, strict=True):
        shown = panel.imshow(
            level, origin="lower", aspect="auto", extent=(0, seconds, 0, 1), vmin=top - 80, vmax=top, cmap="magma"
        )
        panel.set_yticks([math.log10(1 + hz / 700) / highest for hz in ticks], [f"{hz:,}" for hz in ticks])
        panel.set_ylabel("Hz")
    panels[-1].set_xlabel("seconds")
    figure.suptitle(title)
    figure.colorbar(shown, ax=list(panels), label="dB")
    save_png(figure, path, dpi=100, new=new)
