"""A confusion table as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from mousai.pictures.figures import save_png


def confusion_png(table: Tensor, labels: Sequence[str], path: str | Path, title: str = "") -> None:
    """Draw a confusion table: shares of each row as colour, counts as numbers, the accuracy in the title."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    accuracy = float(table.diagonal().sum() / table.sum().clamp_min(1))
    shares = table / table.sum(1, keepdim=True).clamp_min(1)
    figure = Figure(figsize=(0.75 * len(labels) + 2.6, 0.75 * len(labels) + 2.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    picture = axes.imshow(shares.numpy(), cmap="Blues", vmin=0, vmax=1)
    for i in range(len(labels)):
        for j in range(len(labels)):
            if table[i, j]:
                color = "white" if shares[i, j] > 0.55 else "black"
                axes.text(j, i, str(int(table[i, j])), ha="center", va="center", color=color)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("named by the classifier")
    axes.set_ylabel("prompted")
    axes.set_title(f"{title}{': ' if title else ''}{100 * accuracy:.0f} % of {int(table.sum())} clips")
    figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the row")
    save_png(figure, path, dpi=110)
