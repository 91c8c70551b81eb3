"""Confusion tables, and the baselines beside which a codec's distance is shown."""

from __future__ import annotations

import pytest
import torch

from mousai.audio.spectral import log_mel, log_mel_distance_db
from mousai.data.synth.render import make
from mousai.evaluation.metrics import (
    confusion_table,
    long_term_noise,
    mel_resynthesis,
    table_accuracy,
)


@pytest.fixture(scope="module")
def music() -> torch.Tensor:
    return torch.from_numpy(make(0, 1, 2.0)[0])


def test_confusion_counts_rows_as_prompted() -> None:
    labels = ("jazz", "piano", "rock")
    table = confusion_table(["piano", "piano", "rock", "jazz"], ["piano", "rock", "rock", "jazz"], labels)
    assert table.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
    assert table_accuracy(table) == 0.75
    with pytest.raises(ValueError, match="unknown labels polka"):
        confusion_table(["polka"], ["rock"], labels)
    with pytest.raises(ValueError, match="as many names"):
        confusion_table(["rock"], [], labels)


def test_long_term_noise_has_the_spectrum_and_no_rhythm(music) -> None:
    noise = long_term_noise(music, torch.Generator().manual_seed(0))
    assert noise.shape == music.shape
    spectra = [10 * (10 ** (log_mel(audio) / 10)).mean((0, -1)).log10() for audio in (music, noise)]
    assert (spectra[0] - spectra[1])[2:].abs().mean() < 1.5
    music_level, noise_level = log_mel(music).mean((0, 1)), log_mel(noise).mean((0, 1))
    assert noise_level[5:-5].std() < 0.4 * music_level[5:-5].std()


def test_griffin_lim_beats_noise_and_more_bands_beat_fewer(music) -> None:
    few, many = mel_resynthesis(music, 16, 1024, steps=8), mel_resynthesis(music, 128, 256, steps=8)
    noise = long_term_noise(music, torch.Generator().manual_seed(0))
    distances = [log_mel_distance_db(clip, music).item() for clip in (many, few, noise)]
    assert distances[0] < distances[1] < distances[2]
    assert torch.equal(few, mel_resynthesis(music, 16, 1024, steps=8))
