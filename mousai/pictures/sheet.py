"""A sheet of spectrograms, original above reconstruction, on one logarithmic frequency axis and one colour scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from mousai.audio.spectral import stft_magnitude
from mousai.pictures.figures import save_png

LOWEST_HZ, HIGHEST_HZ = 40.0, 20000.0
ROWS = 320  # of a panel's picture
DEPTH_DB = 80
COLUMNS = 3  # pairs side by side
TICKS = (50, 100, 200, 500, 1000, 2000, 5000, 10000)


def log_spectrogram(audio: Tensor, sample_rate: int, rows: int = ROWS, highest: float = HIGHEST_HZ) -> Tensor:
    """Power in dB `(rows, 1 + s // 512)` of audio `(c, s)`, channels averaged, rows equally far apart in octaves up to `highest` hertz.

    Below 1 kHz, where the rows lie closer than the STFT's bins of 2048 samples, one of 8192 takes over by and by.
    """
    power = [stft_magnitude(audio, n_fft, 512).square().mean(0) * 2048 / n_fft for n_fft in (2048, 8192)]
    frequencies = torch.logspace(math.log10(LOWEST_HZ), math.log10(min(highest, sample_rate / 2.1)), rows)
    levels = [_at(10 * p.clamp(min=1e-10).log10(), frequencies / sample_rate * n_fft) for p, n_fft in zip(power, (2048, 8192))]
    fine = (1.5 - (frequencies / 350).log2()).clamp(0, 1)[:, None]  # 1 below 495 Hz, 0 above 990 Hz
    return torch.lerp(levels[0], levels[1], fine)


def _at(levels: Tensor, bins: Tensor) -> Tensor:
    below = bins.floor().long().clamp(max=levels.shape[0] - 2)
    return torch.lerp(levels[below], levels[below + 1], (bins - below)[:, None])


def spectrogram_sheet(pairs: Sequence[tuple[str, Tensor, Tensor]], sample_rate: int, path: str | Path, title: str = "") -> None:
    """Draw pairs of (title, original, reconstruction), audio `(c, s)` each, to a PNG file; the loudest place is the top of the scale."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if not pairs:
        raise ValueError("expected at least one pair to draw, came none")
    pictures = [[log_spectrogram(audio, sample_rate) for audio in (original, other)] for _, original, other in pairs]
    top = max(picture.max().item() for pair in pictures for picture in pair)
    blocks = -(-len(pairs) // COLUMNS)
    columns = min(len(pairs), COLUMNS)
    figure = Figure(figsize=(5.6 * columns + 1, 5.2 * blocks + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2 * blocks, columns, squeeze=False)
    for panel in panels.flat:
        panel.set_visible(False)
    for number, ((name, original, _), pair) in enumerate(zip(pairs, pictures)):
        for row, (what, picture) in enumerate(zip(("original", "decoded"), pair)):
            panel = panels[2 * (number // COLUMNS) + row, number % COLUMNS]
            shown = _panel(panel, picture, original.shape[-1] / sample_rate, sample_rate, top)
            panel.set_title(f"{name}: {what}" if row == 0 else what, fontsize=9)
            panel.set_ylabel("Hz" if number % COLUMNS == 0 else "", fontsize=8)
            panel.set_xlabel("seconds" if row else "", fontsize=8)
    figure.suptitle(title)
    figure.colorbar(shown, ax=list(panels.flat), label="dB", shrink=0.6)
    save_png(figure, path, dpi=90)


def _panel(panel, picture: Tensor, seconds: float, sample_rate: int, top: float):
    highest = min(HIGHEST_HZ, sample_rate / 2.1)
    place = lambda hz: math.log(hz / LOWEST_HZ) / math.log(highest / LOWEST_HZ)  # noqa: E731
    ticks = [hz for hz in TICKS if hz < highest]
    panel.set_visible(True)
    panel.set_yticks([place(hz) for hz in ticks], [f"{hz:,}" for hz in ticks], fontsize=7)
    panel.tick_params(axis="x", labelsize=7)
    return panel.imshow(
        picture.numpy(), origin="lower", aspect="auto", extent=(0, seconds, 0, 1), vmin=top - DEPTH_DB, vmax=top, cmap="magma"
    )
