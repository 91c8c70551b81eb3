"""Channels: the standard downmix, and layouts from WAV masks and Vorbis orders."""

from __future__ import annotations

import pytest
import torch

from mousai.audio.remix import channel_layout, remix

HALF = 0.5**0.5


def unit(channels: int) -> torch.Tensor:
    """One channel on at a time: `(channels, channels)`, so that a remix gives its matrix."""
    return torch.eye(channels)


def test_five_one_by_the_equations_of_bs_775() -> None:
    left = torch.tensor([1, 0, HALF, 0, HALF, 0])
    right = torch.tensor([0, 1, HALF, 0, 0, HALF])
    assert torch.allclose(remix(unit(6), 2), torch.stack([left, right]))
    assert torch.allclose(remix(unit(6), 1), ((left + right) / 2)[None])


@pytest.mark.parametrize("channels", range(3, 9))
def test_vorbis_and_wave_orders_are_the_same_mix(channels: int) -> None:
    wave, vorbis = channel_layout("WAV", channels, ""), channel_layout("OGG", channels, "")
    assert sorted(wave) == sorted(vorbis) and len(wave) == channels
    order = [vorbis.index(name) for name in wave]
    assert torch.allclose(remix(unit(channels), 2, vorbis)[:, order], remix(unit(channels), 2, wave))


def test_a_mask_goes_before_the_usual_order() -> None:
    log = "  Channel Mask  : 0x107 (L, R, C, ...)\n"  # FL FR FC BC
    assert channel_layout("WAVEX", 4, log) == ("FL", "FR", "FC", "BC")
    assert channel_layout("WAVEX", 6, log) == channel_layout("WAV", 6, "")
    assert torch.allclose(remix(unit(4), 2, ("FL", "FR", "FC", "BC"))[0], torch.tensor([1, 0, HALF, 0.5]))


def test_mono_stereo_and_back_is_nothing() -> None:
    audio = torch.randn(3, 1, 50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(remix(remix(audio, 2), 1), audio)
    assert torch.equal(remix(audio, 4), audio.expand(3, 4, 50))


def test_unknown_layouts_and_impossible_widths() -> None:
    assert torch.allclose(remix(unit(10), 2).sum(1), torch.ones(2))
    with pytest.raises(ValueError, match="cannot make 6 channels of 2"):
        remix(unit(2), 6)
