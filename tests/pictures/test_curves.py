"""The curves of a training run: what is drawn, and on which axes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from matplotlib.image import imread

from mousai.pictures.curves import curves_png, draw, panels_of

ROWS = [
    {"step": step, "loss": 2 * math.exp(-step / 100), "diffusion": 1.5 * math.exp(-step / 100), "prior": 0.5 * math.exp(-step / 100),
     "gradient_norm": 1.0 + step % 3, "lr": 1e-3, "steps_per_second": 3.0}
    for step in range(1, 401)
] + [{"step": step, "valid/loss": 1.0, "valid/prior": 0.2} for step in (100, 200)]  # fmt: skip


def test_panels_of_losses_parts_and_the_rest() -> None:
    assert panels_of(ROWS) == [["loss"], ["diffusion", "prior"], ["gradient_norm"], ["lr"], ["steps_per_second"]]
    one = [{"step": 1, "loss": 0.5, "diffusion": 0.5, "lr": 1.0}]
    assert panels_of(one) == [["loss"], ["lr"]]  # the part is the loss itself
    assert panels_of([{"step": 1, "loss": 0.5, "rms": 0.7}]) == [["loss"], ["rms"]]
    assert panels_of([{"step": 1, "valid/loss": 0.5}]) == [["loss"]] and panels_of([]) == []


def test_each_panel_has_its_lines_and_its_axis() -> None:
    loss, parts, norm, rate, speed = draw(ROWS, "run", "facts").axes
    assert [panel.get_yscale() for panel in (loss, parts, norm, rate, speed)] == ["log", "log", "linear", "linear", "linear"]
    points, smooth, valid = loss.lines
    assert len(points.get_xdata()) == len(smooth.get_xdata()) == 400 and list(valid.get_xdata()) == [100, 200]
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation"]
    assert [text.get_text() for text in parts.get_legend().get_texts()] == ["diffusion", "prior", "prior, validation"]
    assert abs(smooth.get_ydata() - points.get_ydata()).max() < 0.1  # smoothed, and close
    assert speed.get_ylim()[0] == 0 and speed.get_xlabel() == "step"


def test_few_points_are_joined_as_they_are_and_values_that_are_no_numbers_left_out() -> None:
    rows = [{"step": step, "loss": math.nan if step == 2 else 1.0 + step} for step in range(1, 5)]
    (line,) = draw(rows, "", "").axes[0].lines
    assert list(line.get_xdata()) == [1, 3, 4] and list(line.get_ydata()) == [2.0, 4.0, 5.0]


def test_a_file_is_written_and_nothing_where_there_is_nothing_to_draw(tmp_path: Path) -> None:
    curves_png(ROWS, tmp_path / "x.png", "a $run$ 音", "facts")
    picture = imread(tmp_path / "x.png")
    assert picture.shape[1] == 1100 and picture.shape[0] > 900 and picture.std() > 0.02
    with pytest.raises(ValueError, match="nothing to draw"):
        curves_png([], tmp_path / "y.png")
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]
