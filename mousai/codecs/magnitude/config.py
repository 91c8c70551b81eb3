"""The shape of a magnitude codec, and how it decodes."""

from __future__ import annotations

from dataclasses import dataclass, field

from mousai.codecs.magnitude.components import ComponentConfig
from mousai.codecs.magnitude.encoder import EncoderConfig
from mousai.codecs.magnitude.features import FeatureConfig
from mousai.diffusion.samplers import SAMPLERS
from mousai.diffusion.schedules import NAMES as SCHEDULES
from mousai.networks.unet2d import UNet2dConfig


@dataclass(frozen=True)
class ReaderConfig:
    """The network that reads the latents for what is not diffused, and for the frames' features."""

    channels: int = 256
    blocks: int = 2  # residual blocks
    features: int = 64  # a frame, for the U-Net
    weight: float = 1.0  # of its error beside the diffusion loss

    def __post_init__(self) -> None:
        if self.channels % 8 or min(self.channels, self.features) < 1 or self.blocks < 0 or self.weight <= 0:
            raise ValueError(f"expected channels a multiple of 8, features >= 1, blocks >= 0 and weight > 0, came {self}")


@dataclass(frozen=True)
class MagnitudeDecodeConfig:
    """How to sample when nothing else is asked for."""

    steps: int = 3
    sampler: str = "ddim"
    schedule: str = "linear"
    temperature: float = 0.25  # of the noise to start from, what of it lasts a latent frame: below 1 truer lines
    grain_temperature: float = 1.0  # of the rest of the noise, which becomes grain
    assumed_noise: float = 0.05  # standard deviation of the latents' errors that the decoder reckons with
    griffin_lim: int = 6  # iterations that make phases agree
    stride_frames: int = 96  # latent frames that one window yields
    context_frames: int = 4  # latent frames that it sees on each side, half of them crossfaded: phases agree near the middle

    def __post_init__(self) -> None:
        if self.steps < 1 or self.griffin_lim < 1 or min(self.temperature, self.grain_temperature, self.assumed_noise) < 0:
            raise ValueError(f"expected steps, griffin_lim >= 1, temperatures and assumed_noise >= 0, came {self}")
        if self.sampler not in SAMPLERS or self.schedule not in SCHEDULES:
            raise ValueError(f"expected sampler of {', '.join(SAMPLERS)}, schedule of {', '.join(SCHEDULES)}; came {self}")
        if not 0 <= 2 * self.context_frames <= self.stride_frames or self.stride_frames < 1:
            raise ValueError(f"expected context_frames of 0 to half of stride_frames, came {self}")


@dataclass(frozen=True)
class MagnitudeConfig:
    features: FeatureConfig = field(default_factory=FeatureConfig)
    components: ComponentConfig = field(default_factory=ComponentConfig)
    encoder: EncoderConfig | None = None  # learned, on top of the components; null = those alone
    reader: ReaderConfig = field(default_factory=ReaderConfig)
    unet: UNet2dConfig = field(default_factory=UNet2dConfig)
    sample_rate: int = 48000
    channels: int = 2
    latent_noise: float = 0.3  # largest standard deviation of noise on the latents in training; generators err by as much
    train_frames: int = 10  # latent frames of each item that a training step looks at, its ends not counted in the loss
    decode: MagnitudeDecodeConfig = field(default_factory=MagnitudeDecodeConfig)

    def __post_init__(self) -> None:
        if self.channels not in (1, 2) or self.latent_noise < 0:
            raise ValueError(f"expected 1 or 2 channels and latent_noise >= 0, came {self.channels} and {self.latent_noise}")
        if (self.train_frames - 2) < 1 or (self.train_frames - 2) % self.whole:
            raise ValueError(f"train_frames: expected 2 and a multiple of {self.whole}, came {self.train_frames}")
        for name in ("stride_frames", "context_frames"):
            if getattr(self.decode, name) % self.whole:
                raise ValueError(f"decode.{name}: expected a multiple of {self.whole}, as the network halves time, came {getattr(self.decode, name)}")

        reach = 2 * -(-self.features.n_fft // (2 * self.hop))
        if self.decode.context_frames < reach:
            raise ValueError(f"decode.context_frames: expected at least {reach}, which spectra reach, came {self.decode.context_frames}")

    @property
    def hop(self) -> int:
        """Samples a latent frame."""
        return self.features.hop * self.components.block

    @property
    def whole(self) -> int:
        """Latent frames in whose multiples the network works."""
        return max(1, self.unet.factor // self.components.block)
