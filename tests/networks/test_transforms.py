import math

import pytest
import torch
from scipy.fft import dct

from mousai.networks.transforms import TransformConfig, build_transform, mid_side


def mdct(bands, channels=2):
    return build_transform(TransformConfig(type="mdct", bands=bands), channels)


@pytest.mark.parametrize("channels", [1, 2])
def test_mdct_gives_the_audio_and_its_energy_back(channels):
    audio = torch.randn(3, channels, 64 * 9)
    transform = mdct(64, channels)
    frames = transform.analysis(audio)
    assert frames.shape == (3, channels * 64, 10)
    torch.testing.assert_close(transform.synthesis(frames), audio, atol=1e-5, rtol=0)
    torch.testing.assert_close(frames.square().sum(), audio.square().sum(), rtol=1e-5, atol=0)


def test_mdct_agrees_with_the_folded_dct():
    n, audio = 16, torch.randn(1, 1, 64, dtype=torch.float64)
    window = torch.sin(math.pi * (torch.arange(2 * n) + 0.5) / (2 * n)).double()
    a, b, c, d = (audio[0, 0, n : 3 * n] * window).split(n // 2)  # frame 2 of the padded signal
    folded = torch.cat([-c.flip(0) - d, a - b.flip(0)])
    expected = torch.tensor(dct(folded.numpy(), type=4, norm="ortho"))
    torch.testing.assert_close(mdct(n, 1).analysis(audio.float())[0, :, 2].double(), expected, atol=1e-5, rtol=0)


def test_mid_side_is_its_own_inverse():
    audio = torch.randn(2, 2, 10)
    torch.testing.assert_close(mid_side(mid_side(audio)), audio)
    assert mid_side(audio[:, :1]) is not None and torch.equal(mid_side(audio[:, :1]), audio[:, :1])


def test_learned_transform_has_a_frame_a_stride():
    transform = build_transform(TransformConfig(bands=8, window_length=64, stride=64), 2)
    audio = torch.randn(1, 2, 640)
    assert transform.analysis(audio).shape == (1, 16, 10)
    assert transform.synthesis(transform.analysis(audio)).shape == audio.shape


def test_mdct_keeps_its_precision_under_autocast():
    """A loud tone beside a quiet one 70 dB below: both survive mixed precision."""
    time = torch.arange(48000) / 48000
    audio = (torch.sin(2 * torch.pi * 440 * time) + 3e-4 * torch.sin(2 * torch.pi * 9000 * time)).expand(1, 2, -1)[..., :47616]
    transform = mdct(512)
    with torch.autocast("cpu", torch.bfloat16):
        frames = transform.analysis(audio)
        again = transform.synthesis(frames)
    torch.testing.assert_close(frames, transform.analysis(audio), atol=1e-5, rtol=0)
    torch.testing.assert_close(again, audio, atol=1e-5, rtol=0)
