"""What the overview of a piece shows, told by its numbers and by the lines of the drawing."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from torch import Tensor

from mousai.pictures.overview import BANDS, COLUMNS, FEATURES, Overview, frame_grid
from mousai.pictures.overview_drawing import FLOOR_DB, shortened

RATE = 16000


def tones(seconds: float, *hertz: float) -> Tensor:
    """Stereo `(2, s)`."""
    t = torch.arange(int(seconds * RATE)) / RATE
    return sum(0.2 * torch.sin(2 * math.pi * hz * t) for hz in hertz).expand(2, -1)


@pytest.fixture(scope="module")
def piece() -> Tensor:
    """24 s: a chord with a hiss, from 15 s on a higher one that beats."""
    hiss = torch.randn(2, 15 * RATE, generator=torch.Generator().manual_seed(0)) * 0.02
    beats = 1 + torch.sin(torch.arange(9 * RATE) / RATE * 12)
    return torch.cat([tones(15, 220, 277.2, 329.6) + hiss, tones(9, 1174.7, 1396.9) * beats], 1)


def overview(audio: Tensor, sections: tuple[tuple[float, str], ...] = (), title: str = "", cuts: int | None = None) -> Overview:
    result = Overview(RATE, audio.shape[0], audio.shape[1], sections, title)
    for block in audio.split(cuts or audio.shape[1], dim=1):
        result.add(block)
    return result


@pytest.mark.parametrize("cuts", (1777, 8192, 300001))
def test_cuts_of_the_blocks_change_nothing(piece: Tensor, cuts: int) -> None:
    one, other = overview(piece).shown(), overview(piece, cuts=cuts).shown()
    for name in ("levels_db", "rms_db", "peak_db", "similarity"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize("seconds", (0.001, 10, 21.4, 60, 600, 3600, 86400))
def test_columns_are_bounded(seconds: float) -> None:
    result = Overview(48000, 2, int(seconds * 48000))
    columns, features = result.power.shape[1], result.features.shape[1]
    assert 1 <= columns <= COLUMNS and 1 <= features <= FEATURES
    assert seconds < 10 or (columns > 900 and features > 80)
    samples = result.grid.column * result.grid.hop
    assert columns * samples >= result.num_samples > (columns - 1) * samples
    assert result.window.numel() < 2 * 600000


def test_hops_divide_the_frames_at_any_rate() -> None:
    for rate in (8000, 22050, 44100, 48000, 96000):
        for seconds in (10, 100, 10000):
            grid = frame_grid(rate * seconds, rate)
            assert grid.n_fft % (2 * grid.hop) == 0


def test_levels_and_bands_are_those_of_a_sine() -> None:
    shown = overview(torch.cat([tones(4, 1000) * 5, torch.zeros(2, 6 * RATE)], 1)).shown()
    column = int(2 / shown.column_seconds)
    band = shown.levels_db[:, column].argmax().item()
    hertz = shown.lowest_hz * (shown.highest_hz / shown.lowest_hz) ** (band / (BANDS - 1))
    assert hertz == pytest.approx(1000, rel=0.02)
    assert shown.levels_db[band, column].item() == pytest.approx(0, abs=0.7)
    assert shown.rms_db[column].item() == pytest.approx(-3.01, abs=0.01)
    assert shown.peak_db[column].item() == pytest.approx(0, abs=0.01)
    assert shown.rms_db[-1] == shown.levels_db[:, -1].max() == FLOOR_DB


def test_channels_that_cancel_are_seen() -> None:
    audio = tones(10, 1000) * torch.tensor([[1.0], [-1.0]])
    assert torch.equal(overview(audio).shown().levels_db, overview(tones(10, 1000)).shown().levels_db)


def test_the_last_column_counts_what_it_has() -> None:
    audio = torch.full((1, 10 * RATE + 5), 0.5)
    assert overview(audio).shown().rms_db[-1].item() == pytest.approx(20 * math.log10(0.5), abs=0.01)


def test_sections_are_where_the_sound_changes(piece: Tensor) -> None:
    result = overview(piece, ((0, "hiss"), (15, "beats")))
    shown = result.shown()
    change = shown.levels_db.diff(dim=1).abs().mean(0)
    assert (change.argmax().item() + 1) * shown.column_seconds == pytest.approx(15, abs=0.1)
    figure = result.draw()
    panels = [axes for axes in figure.axes if axes.get_xlim() == (0, 24)]
    lines = {axes: [drawn for drawn in axes.collections if isinstance(drawn, LineCollection)] for axes in panels}
    spectrum, _, matrix = (axes for axes, drawn in lines.items() if drawn)
    assert all(drawn[0].get_segments()[0][:, 0].tolist() == [15, 15] for drawn in lines.values() if drawn)
    assert lines[matrix][1].get_segments()[0][:, 1].tolist() == [15, 15]
    assert matrix.get_ylim() == (24, 0)
    assert spectrum.images[0].get_extent()[1] == pytest.approx(shown.column_seconds * shown.levels_db.shape[1])


def test_sections_are_squares(piece: Tensor) -> None:
    shown = overview(piece).shown()
    values, border = shown.similarity, round(15 / shown.feature_seconds)
    assert torch.allclose(values, values.T) and torch.allclose(values.diagonal(), torch.ones(1, dtype=values.dtype))
    within = torch.cat([values[:border, :border].flatten(), values[border:, border:].flatten()])
    across = values[:border, border:]
    assert across.max() < within.median() and across.mean() < 0.5 < within.mean()


@pytest.mark.parametrize("num_samples", (1, 700, 12 * RATE))
def test_silence_has_numbers(num_samples: int, tmp_path: Path) -> None:
    result = overview(torch.zeros(1, num_samples), ((0, "nothing"),))
    shown = result.shown()
    assert (shown.levels_db == FLOOR_DB).all() and (shown.rms_db == FLOOR_DB).all() and (shown.similarity == 1).all()
    result.save(tmp_path / "silence.png")


def test_picture_is_whole_and_alone(piece: Tensor, tmp_path: Path) -> None:
    labels = [(0.2 * i, f"section {i} $\\frac{{x$ 夜\n\ud800" if i % 7 else "") for i in range(120)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        overview(piece, tuple(labels), "夜 مرحبا $x_ \x00" + "long " * 100).save(tmp_path / "a.png")
    assert matplotlib.image.imread(tmp_path / "a.png").shape == (1812, 1400, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_labels_do_not_overlap(piece: Tensor) -> None:
    starts = np.linspace(0, 24, 60, endpoint=False) ** 1.3 / 24**0.3
    result = overview(piece[:, : 24 * RATE], tuple((start, "slow piano") for start in starts.tolist()))
    figure = result.draw()
    boxes = [text.get_window_extent() for text in figure.texts[2:]]
    assert len(boxes) > 10
    assert all(left.x1 <= right.x0 for left, right in zip(boxes, boxes[1:]))


def test_nothing_is_drawn_of_half_a_piece(tmp_path: Path) -> None:
    result = Overview(48000, 2, 24 * 3600 * 48000)
    result.add(torch.zeros(2, 1000))
    with pytest.raises(ValueError, match="4147200000 samples, only 1000 came"):
        result.save(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_a_failure_leaves_nothing(piece: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = overview(piece[:, :RATE])
    with pytest.raises(FileNotFoundError, match="cannot write .*: No such file"):
        result.save(tmp_path / "none" / "a.png")
    with monkeypatch.context() as patch, pytest.raises(OSError, match="cannot write .*: full"):

        def fail(*_: object) -> None:
            raise OSError(28, "full")

        patch.setattr("os.replace", fail)
        result.save(tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_what_does_not_fit_is_refused() -> None:
    result = Overview(RATE, 2, 100)
    with pytest.raises(ValueError, match=r"expected audio \(2, s\), came \(1, 50\)"):
        result.add(torch.zeros(1, 50))
    with pytest.raises(ValueError, match="expected 100 samples in all, came 101"):
        result.add(torch.zeros(2, 101))
    for sections in (((0, "a"), (0, "b")), ((-1, "a"),), ((0, "a"), (101 / RATE, "b"))):
        with pytest.raises(ValueError, match="expected sections in order within"):
            Overview(RATE, 2, 100, sections)
    with pytest.raises(ValueError, match="expected a rate, channels and samples"):
        Overview(RATE, 2, 0)


def test_labels() -> None:
    assert shortened("piano", 5, len) == "piano"
    assert shortened("slow piano", 6, len) == "slow…"
    assert shortened("slow piano", 3, len) == ""
