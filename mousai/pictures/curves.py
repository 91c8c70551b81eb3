"""The curves of a training run: its loss and parts, with those of the validation, gradient norm, learning rate and speed over the steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mousai.pictures.figures import save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Row = Mapping[str, float]
Line = tuple[np.ndarray, np.ndarray]  # steps, values

OTHERS = ("gradient_norm", "lr", "steps_per_second")  # what is logged beside the losses
LABELS = {"loss": "loss", "gradient_norm": "gradient norm", "lr": "learning rate", "steps_per_second": "steps / s"}
TALL, LOW = 3.0, 1.3  # inches, of panels of losses and of the others
WIDE_RATIO = 4.0  # between largest and smallest value, from which on an axis is logarithmic
SMOOTH_FROM, SMOOTH_PART = 40, 50  # points, and part of them over which the line through them is smoothed
INK, PALE, VALID = "#30343b", "#8a9099", "#c8553d"
COLOURS = ("#2f6db3", "#3a8f5c", "#8a5fb0", "#b8860b", "#4c9aa8")


def curves_png(rows: Sequence[Row], path: str | Path, title: str = "", facts: str = "") -> None:
    """Draw the rows of a run's log, each with its "step", to a PNG file, which is written whole or not at all.

    Values stand as points, with a smoothed line through them where they are many; names that begin with "valid/" are drawn
    with what they validate. ValueError if there is nothing to draw.
    """
    save_png(draw(rows, title, facts), path, dpi=110)


def draw(rows: Sequence[Row], title: str, facts: str) -> Figure:
    """The picture, panels one above the other over the steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    panels = panels_of(rows)
    if not panels:
        raise ValueError("there is nothing to draw: the log has no losses yet")
    heights = [LOW if names[0] in OTHERS else TALL for names in panels]
    figure = Figure(figsize=(10, sum(heights) + 0.8), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for panel, names in zip(axes, panels):
        losses(panel, rows, names) if names[0] not in OTHERS else other(panel, line_of(rows, names[0]), names[0])
        panel.set_ylabel(LABELS.get(names[0], "parts of the loss"), color=INK)
        panel.grid(color=PALE, alpha=0.2, linewidth=0.6)
        panel.tick_params(colors=INK, labelsize=9)
        panel.spines[["top", "right"]].set_visible(False)
    figure.align_ylabels(axes)
    axes[-1].set_xlabel("step", color=INK)
    axes[-1].xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    axes[0].set_title(title, loc="left", fontsize=11, color=INK, parse_math=False)
    axes[-1].xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    axes[0].set_title(facts, loc="right", fontsize=9, color=PALE, parse_math=False)
    return figure


def panels_of(rows: Sequence[Row]) -> list[list[str]]:
    """The names that each panel shows: the loss, its parts where they say more than the loss, and the others."""
    names = sorted({name.removeprefix("valid/") for row in rows for name in row} - {"step", "loss", *OTHERS})
    there = {name for row in rows for name in row}
    panels = [["loss"]] if {"loss", "valid/loss"} & there else []
    if len(names) > 1 or (names and not alike(rows, names[0])):
        panels.append(names)
    return panels + [[name] for name in OTHERS if name in there]


def alike(rows: Iterable[Row], name: str) -> bool:
    """Whether a part is the loss itself."""
    return all(abs(row[name] - row["loss"]) <= 1e-4 * abs(row["loss"]) for row in rows if name in row and "loss" in row)


def line_of(rows: Iterable[Row], name: str) -> Line:
    """The steps at which `name` was logged, and its values."""
    points = [(row["step"], row[name]) for row in rows if name in row and np.isfinite(row[name])]
    steps, values = zip(*points) if points else ((), ())
    return np.array(steps, dtype=float), np.array(values, dtype=float)


def losses(panel: Axes, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Losses as points and lines, validation as a line with dots, on a logarithmic axis where they spread widely."""
    every = []
    for name, colour in zip(names, COLOURS * len(names)):
        steps, values = line_of(rows, name)
        shown = name.replace("_", " ")
        through(panel, steps, values, colour, "training" if len(names) == 1 else shown)
        valid_steps, valid_values = line_of(rows, f"valid/{name}")
        style = {"color": VALID if len(names) == 1 else colour, "linestyle": "-" if len(names) == 1 else "--"}
        if len(valid_steps):
            panel.plot(valid_steps, valid_values, marker="o", markersize=3.5, linewidth=1.2, **style, label="validation" if len(names) == 1 else f"{shown}, validation")
        every += [values, valid_values]
    if spreads(np.concatenate(every)):
        logarithmic(panel)
    panel.legend(frameon=False, fontsize=9, loc="upper right", labelcolor=INK)


def other(panel: Axes, line: Line, name: str) -> None:
    """A thin panel; the norm of the gradient is logarithmic where it spreads widely, speed begins at 0."""
    steps, values = line
    if name == "lr":
        panel.plot(steps, values, color=COLOURS[0], linewidth=1.4, marker=None if len(values) > 1 else "o")
        panel.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    else:
        through(panel, steps, values, COLOURS[0], "")
    if name == "gradient_norm" and spreads(values):
        logarithmic(panel)
    else:
        panel.set_ylim(bottom=0)


def through(panel: Axes, steps: np.ndarray, values: np.ndarray, colour: str, label: str) -> None:
    """Points, and a line through them, smoothed where they are many."""
    from scipy.ndimage import gaussian_filter1d

    many = len(values) >= SMOOTH_FROM
    if many:
        panel.plot(steps, values, ".", color=colour, alpha=0.3, markersize=3, markeredgewidth=0)
        values = gaussian_filter1d(values, len(values) / SMOOTH_PART / 2, mode="nearest")
    panel.plot(steps, values, color=colour, linewidth=1.6, label=label or None, marker=None if len(values) > 1 else "o")


def spreads(values: np.ndarray) -> bool:
    """Whether values are positive and the largest is several times the smallest."""
    return bool(len(values) and values.min() > 0 and values.max() > WIDE_RATIO * values.min())


def logarithmic(panel: Axes) -> None:
    """A logarithmic axis with plain numbers at 1, 2, 3 and 5 of each decade."""
    from matplotlib.ticker import LogLocator, NullFormatter

    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
    panel.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panel.yaxis.set_minor_formatter(NullFormatter())
