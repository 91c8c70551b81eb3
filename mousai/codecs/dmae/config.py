"""What the configs of both diffusion magnitude autoencoders share, and how they are told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mousai.codecs.dmae.encoders import EncoderConfig
from mousai.diffusion.samplers import SAMPLERS
from mousai.diffusion.schedules import NAMES as SCHEDULES
from mousai.networks.transforms import TransformConfig
from mousai.networks.unet1d import UNet1dConfig

# What the waveform's codec has no setting for, but is written, with these values, in recipes and models of `type: dmae`.
NOT_OF_WAVEFORM = {"prior": None, "band_weights": "flat", "band_groups": 1}
NOT_OF_ITS_DECODING = {"griffin_lim": 0, "start": 1.0}


@dataclass(frozen=True)
class DecodeConfig:
    """How to sample when nothing else is asked for."""

    steps: int = 50
    sampler: str = "ddim"
    schedule: str = "linear"
    stride_frames: int = 224  # latent frames that one window yields
    context_frames: int = 16  # latent frames that it sees on each side, half of them crossfaded

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps: expected at least 1, came {self.steps}")
        if self.sampler not in SAMPLERS or self.schedule not in SCHEDULES:
            raise ValueError(f"expected sampler of {', '.join(SAMPLERS)}, schedule of {', '.join(SCHEDULES)}; came {self}")
        if not 0 <= self.context_frames <= self.stride_frames or self.stride_frames < 1:
            raise ValueError(f"expected 0 <= context_frames <= stride_frames, came {self}")


def check_parts(
    channels: int, encoder: EncoderConfig, transform: TransformConfig, unet: UNet1dConfig, groups: int = 1, inject_frames: int = 1
) -> None:
    """ValueError unless encoder, transform and U-Net fit one another.

    The U-Net takes the transform's bands in `groups`, and what is injected has a frame for each `inject_frames` of its own.
    """
    if encoder.in_channels != channels:
        raise ValueError(f"encoder.in_channels: expected {channels} as in channels, came {encoder.in_channels}")
    expected = channels * transform.bands // groups
    if unet.in_channels != expected:
        raise ValueError(f"unet.in_channels: expected channels x bands / band_groups = {expected}, came {unet.in_channels}")
    if unet.out_channels not in (0, unet.in_channels):
        raise ValueError(f"unet.out_channels: expected as many as in_channels, {unet.in_channels}, or 0, came {unet.out_channels}")
    if encoder.hop % transform.hop:
        raise ValueError(f"transform: its hop {transform.hop} does not divide the encoder's, {encoder.hop}")
    if sum(bool(injected) for injected in unet.inject_channels) != 1:
        raise ValueError(f"unet.inject_channels: expected exactly one depth, came {unet.inject_channels}")
    ratio = encoder.hop // transform.hop
    if unet.total_factor % ratio and ratio % unet.total_factor:
        raise ValueError(f"unet.factors: their product {unet.total_factor} and the {ratio} frames a latent do not divide")
    if unet.depth_factor(inject_depth(unet)) != inject_frames:
        raise ValueError(f"unet.inject_channels: expected them at the depth that has a frame for every {inject_frames} of the first")


def inject_depth(unet: UNet1dConfig) -> int:
    """The depth at which the latents, or what is read from them, are injected."""
    return next(depth for depth, channels in enumerate(unet.inject_channels) if channels)


def told_apart(fields: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Which codec a recipe or model of `type: dmae` means, and its fields: that of MDCT coefficients has a prior."""
    transform = fields.get("transform")
    if fields.get("prior") is not None or (isinstance(transform, Mapping) and transform.get("type") == "mdct"):
        return "dmae_mdct", dict(fields)
    fields = without(fields, NOT_OF_WAVEFORM)
    if isinstance(fields.get("decode"), Mapping):
        fields["decode"] = without(fields["decode"], NOT_OF_ITS_DECODING)
    return "dmae_waveform", fields


def without(fields: Mapping[str, Any], neutral: Mapping[str, Any]) -> dict[str, Any]:
    """The fields, less those that say nothing: the ones of `neutral` that have its values."""
    return {key: value for key, value in fields.items() if key not in neutral or value != neutral[key]}
