"""Maps of many vectors in two dimensions: by principal components or UMAP, as a PNG and as a page to look around in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mousai.checks import extra
from mousai.files import write_text
from mousai.pictures.figures import save_png

NEIGHBOURS, LEAST_DISTANCE = 15, 0.1  # of UMAP


@dataclass(frozen=True)
class Points:
    """Points `(n, 2)` of one kind, with what is said of each."""

    place: Tensor
    words: Sequence[str]


def flattened(vectors: Tensor, way: str = "pca", seed: int = 0) -> Tensor:
    """Vectors `(n, e)` as points `(n, 2)`: `pca` or `umap` (McInnes et al., arXiv 1802.03426); ValueError where its package is missing."""
    if way not in ("pca", "umap"):
        raise ValueError(f"map: expected pca or umap, came {way!r}")
    if way == "umap" and len(vectors) > 3:
        UMAP = extra("umap", "a map by umap", "audition", otherwise="take pca").UMAP
        neighbours = min(NEIGHBOURS, len(vectors) - 1)
        made = UMAP(n_neighbors=neighbours, min_dist=LEAST_DISTANCE, metric="cosine", random_state=seed, n_jobs=1, init="random" if len(vectors) < 12 else "spectral")
        return torch.from_numpy(made.fit_transform(vectors.float().numpy())).float()
    centred = vectors.double() - vectors.double().mean(0)
    _, _, axes = torch.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * torch.where(axes[:2].sum(1, keepdim=True) < 0, -1.0, 1.0)  # which way an axis points is chance
    points = (centred @ axes.T).float()
    return torch.nn.functional.pad(points, (0, 2 - points.shape[1]))


def map_png(groups: Mapping[str, Points], picks: Points, path: str | Path, title: str) -> None:
    """Draws groups of points, and the picks with their numbers; behind what is drawn later lies what comes first."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, group in groups.items():
        axes.scatter(*group.place.T.numpy(), s=14, alpha=0.55, label=f"{name} ({len(group.place)})", linewidths=0)
    axes.scatter(*picks.place.T.numpy(), s=130, facecolors="none", edgecolors="black", linewidths=1.4, label="picks")
    for number, (x, y) in enumerate(picks.place.tolist(), 1):
        axes.annotate(str(number), (x, y), xytext=(7, 6), textcoords="offset points", fontsize=11, weight="bold")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title)
    axes.legend(loc="best", frameon=False, fontsize=9)
    save_png(figure, path, dpi=110)


def map_html(groups: Mapping[str, Points], picks: Points, path: str | Path, title: str) -> None:
    """The same as one page that needs no network; ValueError where plotly is missing."""
    plotly = extra("plotly", "a map as a page", "audition", "plotly.graph_objects", "leave --html away")
    figure = plotly.Figure()
    for name, group in groups.items():
        x, y = group.place.T.tolist()
        figure.add_trace(plotly.Scatter(x=x, y=y, mode="markers", name=escaped(name), text=[escaped(words) for words in group.words], hoverinfo="text", marker={"size": 6, "opacity": 0.6}))
    x, y = picks.place.T.tolist()
    numbers = [str(number) for number in range(1, len(x) + 1)]
    figure.add_trace(
        plotly.Scatter(x=x, y=y, mode="markers+text", name="picks", text=numbers, textposition="top right", hovertext=[escaped(words) for words in picks.words], hoverinfo="text",
                marker={"size": 14, "color": "rgba(0,0,0,0)", "line": {"color": "black", "width": 2}})
    )  # fmt: skip
    figure.update_layout(title=escaped(title), template="plotly_white", xaxis={"visible": False}, yaxis={"visible": False})
    write_text(path, figure.to_html(include_plotlyjs=True))


def escaped(text: str) -> str:
    """A text that a page shows as it is."""
    from html import escape

    return escape(text)
