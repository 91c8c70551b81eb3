"""Figures of matplotlib as PNG files: whole or not at all, and without a word about letters that the font has not."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mousai.files import writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_png(figure: Figure, path: str | Path, dpi: int, *, new: bool = False) -> None:
    """Writes a figure; OSError in one line where the file cannot be written, and then nothing is left. `new` is as of `files.writing`."""
    with writing(path, new=new) as part, quiet_fonts():
        figure.savefig(part, format="png", dpi=dpi)


@contextmanager
def quiet_fonts() -> Iterator[None]:
    """Letters that the font has not are drawn as boxes, without a warning for each."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph|Matplotlib currently does not support")
        yield
