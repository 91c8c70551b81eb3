"""One rule for levels and for silence, whoever asks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mousai.audio import io
from mousai.audio.level import SILENT, at_level, at_rms, level_gain, rms_of, rms_of_blocks
from mousai.data.loader import AudioCrops, AudioDataConfig, open_sources


def noise(rms: float, num_samples: int = 5000) -> torch.Tensor:
    audio = torch.randn(2, num_samples, generator=torch.Generator().manual_seed(0))
    return audio * (rms / audio.square().mean().sqrt())


def test_music_is_brought_to_the_level_and_what_is_next_to_silent_is_left_alone() -> None:
    assert level_gain(0.02, 0.1) == pytest.approx(5.0)
    assert level_gain(0.02, None) == level_gain(0.0, 0.1) == level_gain(1e-5, 0.1) == 1.0


def test_the_level_of_blocks_is_that_of_the_whole() -> None:
    audio = noise(0.3)
    assert rms_of(audio) == pytest.approx(0.3, rel=1e-5)
    assert rms_of_blocks(audio.split(777, -1)) == pytest.approx(rms_of(audio), rel=1e-6)
    assert rms_of_blocks([]) == 0.0


@pytest.mark.parametrize("rms", [0.5, 2e-3, 1.1 * SILENT, 0.9 * SILENT, 0.0])
def test_training_caching_and_judging_agree(rms: float, tmp_path: Path) -> None:
    """On audio of any level: above silence it comes to 0.1, below it stays as it is, to rounding."""
    audio = noise(rms) if rms else torch.zeros(2, 5000)
    io.write(tmp_path / "a.wav", audio, subtype="FLOAT")
    config = AudioDataConfig(sources=(str(tmp_path),), crop_samples=5000, rms=0.1)
    crops = AudioCrops(open_sources(config.sources), config, None, 48000, 2, seed=0)
    heard = {"cached": at_level(audio, 0.1), "judged": at_rms(audio[None])[0], "trained": crops[0]["audio"]}
    expected = 0.1 if rms > SILENT else rms
    assert {name: rms_of(each) for name, each in heard.items()} == {name: pytest.approx(expected, rel=1e-5) for name in heard}
    assert torch.equal(at_level(audio, None), audio)
