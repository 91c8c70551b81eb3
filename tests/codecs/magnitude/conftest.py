from collections.abc import Callable

import pytest
import torch

from mousai.codecs.magnitude.codec import MagnitudeCodec
from mousai.codecs.magnitude.components import ComponentConfig
from mousai.codecs.magnitude.config import MagnitudeConfig, MagnitudeDecodeConfig, ReaderConfig
from mousai.codecs.magnitude.features import FeatureConfig
from mousai.networks.unet2d import UNet2dConfig

FEATURES = FeatureConfig(n_fft=256, hop=64, groups=((32, 1), (16, 2), (16, 4)), fast_n_fft=128, fast_hop=32, bands=6)
SMALL = MagnitudeConfig(
    features=FEATURES,
    components=ComponentConfig(block=4, count=16, smoothing=5),
    reader=ReaderConfig(channels=16, blocks=1, features=8),
    unet=UNet2dConfig(channels=(8, 8, 8, 8), blocks=(1, 1, 1, 1), patch=2, embedding=16),
    sample_rate=8000,
    train_frames=8,
    decode=MagnitudeDecodeConfig(steps=2, griffin_lim=3, stride_frames=16, context_frames=4),
)


def made_notes(items: int, num_samples: int = 32768) -> torch.Tensor:
    """Music for codecs in small `(b, 2, s)` at 8 kHz: notes of three partials that change every quarter second, over noise."""
    generator = torch.Generator().manual_seed(items)
    time = torch.arange(num_samples) / 8000
    which = torch.randint(0, 12, (items, num_samples // 2000 + 1), generator=generator).repeat_interleave(2000, 1)[:, :num_samples]
    phase = (220 * 2 ** (which / 12) / 8000).double().cumsum(1) * 2 * torch.pi
    fade = torch.exp(-6 * (time % 0.25))
    tone = sum(torch.sin(k * phase).float() / k for k in (1, 2, 3)) * fade
    noise = torch.randn(items, 2, num_samples, generator=generator)
    return 0.1 * tone[:, None] * torch.tensor([1.0, 0.6])[:, None] + 0.003 * noise


@pytest.fixture(scope="session")
def notes() -> Callable[..., torch.Tensor]:
    return made_notes


@pytest.fixture(scope="session")
def small() -> MagnitudeConfig:
    """The codec's form in small: 4 frames of 64 samples to 16 numbers."""
    return SMALL


@pytest.fixture(scope="session")
def fitted() -> MagnitudeCodec:
    """A codec that has seen its music but no training step."""
    torch.manual_seed(0)
    codec = MagnitudeCodec(SMALL)
    codec.initialise(made_notes(8).split(2))
    return codec.eval()
