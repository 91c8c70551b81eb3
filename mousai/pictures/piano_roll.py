"""The piano roll of a score: a colour for each part, bars and sections, drums below."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mousai.pictures.figures import save_png
from mousai.symbolic.score import LENGTH, PITCH, START, VELOCITY, Score
from mousai.words import printable

INCHES_A_BAR = 0.42
WIDEST_INCHES, DPI = 40.0, 110
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#bcbd22", "#7f7f7f")


def piano_roll_png(score: Score, path: str | Path, title: str = "", *, new: bool = False) -> None:
    """Draw a score to a PNG file, whole or not at all; `new` is as of `files.writing`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.collections import PatchCollection
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch, Rectangle

    bars = score.bars()
    edges = [start for start, _ in bars] + [bars[-1][0] + bars[-1][1]] if bars else [0, 1]
    pitched, drums = ([part for part in score.parts if part.drums is drummed and len(part.notes)] for drummed in (False, True))
    figure = Figure(figsize=(min(max(8.0, INCHES_A_BAR * len(bars)), WIDEST_INCHES), 6.5 if drums else 5.0), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2 if drums and pitched else 1, 1, sharex=True, squeeze=False, height_ratios=(4, 1) if drums and pitched else None)[:, 0]
    groups = [group for group in (pitched, drums) if group]
    for panel, group in zip(panels, groups):  # of a score without notes there is one panel, which stays empty
        pitches = np.concatenate([part.notes[:, PITCH] for part in group])
        for part in group:
            colour = COLOURS[score.parts.index(part) % len(COLOURS)]
            boxes = [Rectangle((note[START], note[PITCH] - 0.45), max(note[LENGTH], 1), 0.9) for note in part.notes]
            panel.add_collection(PatchCollection(boxes, facecolor=colour, edgecolor="none", alpha=0.35 + 0.65 * part.notes[:, VELOCITY] / 127))
        panel.set_ylim(pitches.min() - 2, pitches.max() + 2)
        panel.set_ylabel("drums" if group is drums else "pitch")
        if group is not drums:
            octaves = np.arange(0, 128, 12)
            shown = octaves[(octaves >= pitches.min() - 2) & (octaves <= pitches.max() + 2)]
            panel.set_yticks(shown, [f"C{pitch // 12 - 1}" for pitch in shown])
        for number, edge in enumerate(edges):
            panel.axvline(edge, color="#999999" if number % 4 == 0 else "#dddddd", linewidth=0.8 if number % 4 == 0 else 0.4, zorder=0)
    for tick, name in score.sections:
        panels[0].axvline(tick, color="black", linewidth=1.2)
        panels[0].text(tick, 1.0, f" {printable(name)}", transform=panels[0].get_xaxis_transform(), va="bottom", fontsize=9)
    every = max(1, len(bars) // 32)
    panels[-1].set_xticks(edges[:-1:every], [str(number + 1) for number in range(0, len(bars), every)])
    panels[-1].set_xlim(edges[0], edges[-1])
    panels[-1].set_xlabel("bars")
    handles = [Patch(color=COLOURS[i % len(COLOURS)], label=printable(part.name or f"part {i + 1}")[:30]) for i, part in enumerate(score.parts[:12])]
    figure.legend(handles=handles, loc="outside lower center", fontsize=8, ncols=min(len(handles), 6))
    figure.suptitle(printable(title), x=0.01, ha="left", fontsize=10)
    save_png(figure, path, dpi=DPI, new=new)
