"""The spectrogram of a clip as a picture."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch

from mousai.pictures.spectrogram import spectrogram_png


def test_a_picture_shows_where_the_tone_is(tmp_path: Path) -> None:
    from matplotlib.image import imread

    audio = torch.zeros(2, 48_000)
    audio[:, 24_000:] = torch.sin(2 * math.pi * 1000 * torch.arange(24_000) / 48_000)
    spectrogram_png(audio, 48_000, tmp_path / "a.png", "a tone, 音")
    picture = imread(tmp_path / "a.png")[..., :3].sum(-1)
    middle = picture[:, picture.shape[1] // 10 : picture.shape[1] * 8 // 10]
    left, right = np.array_split(middle, 2, axis=1)
    dark = [(half < 0.2).mean() for half in (left, right)]
    assert picture.shape[0] > 300 and dark[0] > dark[1] > 0.1
    spectrogram_png(torch.zeros(1, 100), 48_000, tmp_path / "silence.png")
