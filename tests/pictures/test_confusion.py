"""The confusion table as a picture."""

from __future__ import annotations

from pathlib import Path

import torch

from mousai.pictures.confusion import confusion_png


def test_the_picture_is_darkest_where_the_table_is_fullest(tmp_path: Path) -> None:
    from matplotlib.image import imread

    confusion_png(torch.tensor([[9, 0], [0, 9]]), ("jazz", "rock"), tmp_path / "right.png", "styles")
    confusion_png(torch.tensor([[0, 9], [9, 0]]), ("jazz", "rock"), tmp_path / "wrong.png", "styles")
    right, wrong = (imread(tmp_path / f"{name}.png")[..., :3].sum(-1) for name in ("right", "wrong"))
    assert right.shape == wrong.shape and (abs(right - wrong) > 0.5).mean() > 0.1
