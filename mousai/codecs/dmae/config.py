"""The shape of a diffusion magnitude autoencoder, and how it decodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mousai.codecs.dmae.encoders import EncoderConfig
from mousai.codecs.dmae.prior import PriorConfig
from mousai.diffusion.samplers import V_SAMPLERS
from mousai.diffusion.schedules import NAMES as SCHEDULES
from mousai.networks.transforms import TransformConfig
from mousai.networks.unet1d import UNet1dConfig


@dataclass(frozen=True)
class DecodeConfig:
    """How to sample when nothing else is asked for."""

    steps: int = 50
    sampler: str = "ddim"
    schedule: str = "linear"
    griffin_lim: int = 0  # iterations that give the prior's noise consistent phases (griffin_lim.py); 0 = none
    start: float = 1.0  # time to sample from: 1 is noise, below it what griffin_lim made with noise added
    stride_frames: int = 224  # latent frames that one window yields
    context_frames: int = 16  # latent frames that it sees on each side, half of them crossfaded

    def __post_init__(self) -> None:
        if self.steps < 1 or self.griffin_lim < 0 or not 0 < self.start <= 1:
            raise ValueError(f"expected steps >= 1, griffin_lim >= 0 and 0 < start <= 1, came {self}")
        if (self.start < 1) != (self.griffin_lim > 0):
            raise ValueError(f"start: below 1 it needs griffin_lim iterations, and they a start below 1; came {self}")
        if self.sampler not in V_SAMPLERS or self.schedule not in SCHEDULES:
            raise ValueError(f"expected sampler of {', '.join(V_SAMPLERS)}, schedule of {', '.join(SCHEDULES)}; came {self}")
        if not 0 <= self.context_frames <= self.stride_frames or self.stride_frames < 1:
            raise ValueError(f"expected 0 <= context_frames <= stride_frames, came {self}")


@dataclass(frozen=True)
class DMAEConfig:
    encoder: EncoderConfig
    unet: UNet1dConfig
    transform: TransformConfig = field(default_factory=TransformConfig)
    prior: PriorConfig | None = None  # with the mdct transform
    sample_rate: int = 48000
    channels: int = 2
    stereo: Literal["left_right", "mid_side"] = "left_right"  # what the encoder looks at
    band_weights: Literal["flat", "mel"] = "flat"  # of the losses over MDCT bands; mel weighs them as the mel scale does
    band_groups: int = 1  # MDCT bands are cut into so many groups of neighbours, which the U-Net takes one by one
    latent_noise: float = 0.0  # standard deviation of noise on the latents in training; generators err by as much
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def __post_init__(self) -> None:
        if (self.prior is None) == (self.transform.type == "mdct"):
            raise ValueError("prior: belongs to the mdct transform, which needs it; leave both away or give both")
        if self.prior is not None:
            encoder, bands = self.encoder, self.transform.bands
            if encoder.linear == "none" or encoder.spectrum != "log_magnitude" or encoder.bands % bands:
                raise ValueError(f"prior: needs encoder.linear, log_magnitude and a multiple of {bands} bins, came {encoder}")
            if encoder.hop_length != self.transform.hop:
                raise ValueError(f"encoder.hop_length: expected {self.transform.hop} as the transform's, came {encoder.hop_length}")
        if self.prior is None and self.decode.griffin_lim:
            raise ValueError("decode.griffin_lim: needs the envelope prior")
        if self.prior is None and self.band_weights != "flat":
            raise ValueError("band_weights: mel belongs to the mdct transform")
        if self.encoder.in_channels != self.channels:
            raise ValueError(f"encoder.in_channels: expected {self.channels} as in channels, came {self.encoder.in_channels}")
        if self.band_groups < 1 or self.transform.bands % self.band_groups or (self.prior is None and self.band_groups > 1):
            raise ValueError(f"band_groups: expected a divisor of the {self.transform.bands} mdct bands, came {self.band_groups}")
        expected = self.channels * self.transform.bands // self.band_groups
        if self.unet.in_channels != expected:
            raise ValueError(f"unet.in_channels: expected channels x bands / band_groups = {expected}, came {self.unet.in_channels}")
        if self.encoder.hop % self.transform.hop:
            raise ValueError(f"transform: its hop {self.transform.hop} does not divide the encoder's, {self.encoder.hop}")
        if sum(bool(channels) for channels in self.unet.inject_channels) != 1:
            raise ValueError(f"unet.inject_channels: expected exactly one depth, came {self.unet.inject_channels}")

    @property
    def inject_depth(self) -> int:
        return next(depth for depth, channels in enumerate(self.unet.inject_channels) if channels)
