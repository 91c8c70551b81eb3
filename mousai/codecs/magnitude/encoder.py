"""A learned encoder on top of the linear one: it begins as that, and learns what a linear transform cannot keep.

It looks at one latent frame at a time, so that it reaches no further than the components do.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mousai.codecs.magnitude.components import Components

LARGEST_STEP = 1.0  # standard deviations that a latent may differ from the linear one, so that noise cannot be outgrown
STATISTICS_RATE = 0.02  # of a training step in the running mean and spread


@dataclass(frozen=True)
class EncoderConfig:
    channels: int = 384
    blocks: int = 2  # residual blocks

    def __post_init__(self) -> None:
        if self.channels < 1 or self.blocks < 0:
            raise ValueError(f"expected channels >= 1 and blocks >= 0, came {self}")


class LearnedEncoder(nn.Module):
    """Features `(b, f, l * block)` to latents `(b, d, l)`, those of the components and what is learned beside them."""

    def __init__(self, config: EncoderConfig, width: int, latent_channels: int, block: int) -> None:
        super().__init__()
        channels = config.channels
        self.entrance = nn.Conv1d(width, channels, block, stride=block)
        self.linear = nn.Linear(latent_channels, channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, channels), nn.SiLU(), nn.Linear(channels, channels)) for _ in range(config.blocks)
        )
        self.step = nn.Linear(channels, latent_channels)
        nn.init.zeros_(self.step.weight)
        nn.init.zeros_(self.step.bias)
        self.register_buffer("latent_mean", torch.zeros(latent_channels, 1))
        self.register_buffer("latent_std", torch.ones(latent_channels, 1))

    def forward(self, features: Tensor, components: Components) -> Tensor:
        """Latents of zero mean and unit variance, as far as training has seen them."""
        linear = components.encode(features)
        missed = features.float() - components.decode(linear)
        h = self.entrance(missed).transpose(1, 2) + self.linear(linear.transpose(1, 2))  # (b, l, channels)
        for block in self.blocks:
            h = h + block(h)
        latents = linear + LARGEST_STEP * torch.tanh(self.step(F.silu(h))).transpose(1, 2)
        if self.training:
            self.follow(latents.detach())
        return (latents - self.latent_mean) / self.latent_std

    def undone(self, latents: Tensor) -> Tensor:
        """Latents as the components decode them."""
        return latents.float() * self.latent_std + self.latent_mean

    @torch.no_grad()
    def follow(self, latents: Tensor) -> None:
        """Bring the running mean and spread nearer to those of `latents`."""
        mean = latents.mean((0, 2))[:, None]
        self.latent_mean.lerp_(mean, STATISTICS_RATE)
        variance = (latents - self.latent_mean).square().mean((0, 2))[:, None]
        self.latent_std.copy_(self.latent_std.square().lerp(variance, STATISTICS_RATE).sqrt())
