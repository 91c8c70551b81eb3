"""How the overview of a piece is drawn: panels of the same width on one axis of time, 1400 pixels wide at 100 dpi.

A strip of the sections, the spectrogram, the level, and the matrix of similarity, whose time runs to the right and down.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from mousai.pictures.figures import quiet_fonts
from mousai.words import clock

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

FLOOR_DB, DEPTH_DB = -110.0, 80.0
TICK_HZ = (50, 100, 200, 500, 1000, 2000, 5000, 10000)
TICK_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200)
# Pixels: the whole, and (left, top, width, height) of the panels.
SIZE = (1400, 1812)
STRIP, SPECTRUM, LEVEL = (84, 58, 1216, 24), (84, 86, 1216, 300), (84, 392, 1216, 84)
ABOVE, MATRIX, BESIDE = (84, 506, 1216, 8), (84, 518, 1216, 1216), (1304, 518, 8, 1216)
SPECTRUM_BAR, MATRIX_BAR = (1312, 86, 12, 300), (1326, 518, 12, 300)
INK, PALE = "#30343b", "#8a9099"
PALETTE = ("#9ecae1", "#fdbe85", "#a1d99b", "#f4a6b7", "#c5b0d5", "#e6d690", "#8fd3c8", "#d8b49c")


@dataclass(frozen=True)
class Shown:
    """The numbers behind the picture. The last column and the last feature may reach beyond the end of the piece."""

    levels_db: Tensor  # (f, columns), bands equally far apart in octaves; a full-scale sine is at about 0 dB, silence at FLOOR_DB
    rms_db: Tensor  # (columns,), of all channels
    peak_db: Tensor  # (columns,)
    similarity: Tensor  # (features, features), 0 … 1
    lowest_hz: float
    highest_hz: float
    column_seconds: float
    feature_seconds: float


def draw(shown: Shown, seconds: float, sections: Sequence[tuple[float, str]], title: str, facts: str) -> Figure:
    """The picture of a piece of some seconds; `sections` are (start in seconds, label), `facts` stand to the right of the title."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE[0] / 100, SIZE[1] / 100), dpi=100, facecolor="white")
    FigureCanvasAgg(figure)
    with quiet_fonts():
        _title(figure, title, facts)
        panels = [_spectrum(figure, shown), _level(figure, shown), _matrix(figure, shown)]
        _sections(figure, panels, sections, seconds)
        for panel in panels:
            _clocks(panel.xaxis, seconds)
            panel.set_xlim(0, seconds)
        _clocks(panels[-1].yaxis, seconds)
        panels[-1].set_ylim(seconds, 0)
        panels[0].tick_params(labelbottom=False)
    return figure


def plain(text: str) -> str:
    """On one line, without control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def shortened(text: str, room: float, width: Callable[[str], float]) -> str:
    """The text, or as much of it as fits into the room with an ellipsis; nothing if that is under three letters."""
    if width(text) <= room:
        return text
    kept = bisect_right(range(len(text)), room, key=lambda count: width(text[:count] + "…")) - 1
    return text[:kept].rstrip() + "…" if kept >= 3 else ""


def _width(figure: Figure, size: float, weight: str = "normal") -> Callable[[str], float]:
    from matplotlib.font_manager import FontProperties

    font = FontProperties(size=size, weight=weight)
    return lambda text: figure.canvas.get_renderer().get_text_width_height_descent(text, font, False)[0]


def _panel(figure: Figure, place: tuple[int, int, int, int], bare: bool = False) -> Axes:
    left, top, width, height = place
    panel = figure.add_axes((left / SIZE[0], 1 - (top + height) / SIZE[1], width / SIZE[0], height / SIZE[1]))
    panel.spines[:].set_visible(False)
    panel.tick_params(labelsize=9, labelcolor=INK, color=PALE, length=3)
    if bare:
        panel.set(xticks=[], yticks=[])
    return panel


def _clocks(axis: Axis, seconds: float) -> None:
    step = next((step for step in TICK_SECONDS if seconds / step <= 14), TICK_SECONDS[-1])
    times = range(0, int(seconds) + 1, step)
    axis.set_ticks(times, [clock(time, hours=seconds >= 3600) for time in times])


def _title(figure: Figure, title: str, facts: str) -> None:
    line, left, right = 1 - 34 / SIZE[1], STRIP[0], STRIP[0] + STRIP[2]
    room = right - left - _width(figure, 10)(facts) - 30
    title = shortened(plain(title), room, _width(figure, 15, "bold"))
    figure.text(left / SIZE[0], line, title, size=15, weight="bold", color=INK, va="center", parse_math=False)
    figure.text(right / SIZE[0], line, facts, size=10, color=PALE, va="center", ha="right")


def _bar(figure: Figure, image: object, place: tuple[int, int, int, int], **about: object) -> None:
    bar = figure.colorbar(image, cax=_panel(figure, place), **about)
    bar.outline.set_visible(False)
    bar.ax.yaxis.label.set(color=INK, size=9)


def _spectrum(figure: Figure, shown: Shown) -> Axes:
    panel, levels = _panel(figure, SPECTRUM), shown.levels_db.numpy()
    top = max(levels.max(), FLOOR_DB + DEPTH_DB)
    image = panel.imshow(
        levels, origin="lower", aspect="auto", cmap="magma", vmin=top - DEPTH_DB, vmax=top,
        extent=(0, levels.shape[1] * shown.column_seconds, 0, 1),
    )  # fmt: skip
    ticks, octaves = [hz for hz in TICK_HZ if hz < shown.highest_hz], math.log2(shown.highest_hz / shown.lowest_hz)
    panel.set_yticks([math.log2(hz / shown.lowest_hz) / octaves for hz in ticks], [f"{hz:,}" for hz in ticks])
    panel.set_ylabel("Hz", size=9, color=INK)
    _bar(figure, image, SPECTRUM_BAR, label="dB")
    return panel


def _level(figure: Figure, shown: Shown) -> Axes:
    panel = _panel(figure, LEVEL)
    times = (np.arange(len(shown.rms_db)) + 0.5) * shown.column_seconds
    for levels, colour in ((shown.peak_db, "#c9d4e3"), (shown.rms_db, "#5b7aa8")):
        panel.fill_between(times, -60, levels.numpy().clip(-60), color=colour, linewidth=0)
    panel.set(ylim=(-60, max(0, shown.peak_db.max().item())), yticks=[-48, -24, 0])
    panel.set_ylabel("dB\npeak, rms", size=9, color=INK)
    panel.grid(axis="y", color=PALE, alpha=0.25, linewidth=0.6)
    return panel


def _matrix(figure: Figure, shown: Shown) -> Axes:
    panel, values = _panel(figure, MATRIX), shown.similarity.numpy()
    end = len(values) * shown.feature_seconds
    low, high = np.quantile(values, (0.02, 0.95))
    low = min(low, high - 0.5)  # the colours of a piece that stays the same stay together
    image = panel.imshow(
        values, aspect="auto", interpolation="bilinear", extent=(0, end, end, 0), cmap="viridis", vmin=low, vmax=high
    )
    _bar(figure, image, MATRIX_BAR, ticks=[low, high], format=lambda value, _: "alike" if value > (low + high) / 2 else "unlike")
    return panel


def _sections(figure: Figure, panels: Sequence[Axes], sections: Sequence[tuple[float, str]], seconds: float) -> None:
    """Sections as coloured strips, one colour a label, above the panels and beside the matrix, and lines where they begin."""
    from matplotlib.colors import ListedColormap

    if not sections:
        return
    starts, labels = [start for start, _ in sections], [plain(label) for _, label in sections]
    edges = [*starts, seconds]
    number = {label: index % len(PALETTE) for index, label in enumerate(dict.fromkeys(labels))}
    colours = np.array([[number[label] for label in labels]])
    style = {"cmap": ListedColormap(PALETTE), "vmin": 0, "vmax": len(PALETTE)}
    style |= {"edgecolors": "white" if len(labels) <= 60 else "none", "linewidth": 1}
    for place in (STRIP, ABOVE):
        strip = _panel(figure, place, bare=True)
        strip.pcolormesh(edges, (0, 1), colours, **style)
        strip.set_xlim(0, seconds)
    strip = _panel(figure, BESIDE, bare=True)
    strip.pcolormesh((0, 1), edges, colours.T, **style)
    strip.set_ylim(seconds, 0)
    _labels(figure, starts, np.diff(edges), labels, seconds)
    inner = starts[1:] if starts[0] == 0 else starts
    line = {"linewidth": 0.9, "alpha": min(0.75, 15 / len(labels))}  # many lines must not hide the picture
    for panel, colour in zip(panels, ("white", INK, "white")):
        panel.vlines(inner, 0, 1, transform=panel.get_xaxis_transform(), color=colour, **line)
    panels[-1].hlines(inner, 0, 1, transform=panels[-1].get_yaxis_transform(), color="white", **line)


def _labels(figure: Figure, starts: Sequence[float], lengths: Sequence[float], labels: Sequence[str], seconds: float) -> None:
    """Labels in the strip, shortened to fit; where there is no room, numbers of some sections."""
    width, pixels, mean = _width(figure, 9), STRIP[2] / seconds, STRIP[2] / len(labels)
    every = next((count for count in (1, 2, 5, 10, 20, 50, 100, 200, 500) if count * mean > 24), 1000)
    taken = 0.0
    for number, (start, length, label) in enumerate(zip(starts, lengths, labels), 1):
        room = length * pixels - 10
        text = (shortened(label, room, width) if room > 20 else "") or (str(number) if number % every == 0 else "")
        if not text:
            continue
        middle, half = (start + length / 2) * pixels, width(text) / 2 + 2
        if middle - half >= taken and middle + half <= STRIP[2] + 4:
            x, y = (STRIP[0] + middle) / SIZE[0], 1 - (STRIP[1] + STRIP[3] / 2) / SIZE[1]
            figure.text(x, y, text, size=9, color=INK, ha="center", va="center_baseline", parse_math=False)
            taken = middle + half
