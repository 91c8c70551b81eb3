"""The envelope prior: what a latent says of the spectrum's envelope, so that diffusion starts from noise of that shape.

Diffusion from white noise spends a small model's effort on the 70 dB between music's loudest and quietest bands. A
prior whose scale follows the condition removes that (PriorGrad, Lee et al., arXiv 2106.06406; SpecGrad, Koizumi et
al., arXiv 2203.16749). Here the scale of every transform coefficient is read from the latents and trained, with the
encoder, by the Gaussian likelihood of the coefficients; the decoder then diffuses coefficient / scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FLOOR = 1e-10  # power added to a coefficient, -100 dB: silence has a finite likelihood
KNEE = 16.0  # squared ratio of coefficient to scale from which on the likelihood grows with its logarithm only
LOG_SCALE_RANGE = (0.5 * math.log(FLOOR), 4.0)


@dataclass(frozen=True)
class PriorConfig:
    channels: int = 256  # width, and the channels injected into the decoder
    blocks: int = 2  # residual blocks before and after the upsampling
    weight: float = 1.0  # of its likelihood beside the diffusion loss

    def __post_init__(self) -> None:
        if self.channels % 8 or self.channels < 8 or self.blocks < 0 or self.weight <= 0:
            raise ValueError(f"expected channels a multiple of 8, blocks >= 0 and weight > 0, came {self}")


class ResidualBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, channels), nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv1d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv1d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))


class EnvelopePrior(nn.Module):
    """Latents `(b, d, l)` to the log of every coefficient's standard deviation `(b, features, l * ratio)`."""

    def __init__(self, config: PriorConfig, latent_channels: int, features: int, ratio: int) -> None:
        super().__init__()
        channels, self.ratio = config.channels, ratio
        self.input = nn.Conv1d(latent_channels, channels, 3, padding=1)
        self.coarse = nn.Sequential(*[ResidualBlock(channels) for _ in range(config.blocks)])
        self.upsample = nn.ConvTranspose1d(channels, channels, 2 * ratio, ratio, (ratio + 1) // 2, ratio % 2)
        self.fine = nn.Sequential(*[ResidualBlock(channels) for _ in range(config.blocks)])
        self.norm = nn.GroupNorm(8, channels)
        self.output = nn.Conv1d(channels, features, 1)
        self.register_buffer("base", torch.zeros(features, 1))  # log scale of each band over the first batch
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))

    def initialise(self, frames: Tensor) -> None:
        """Start from the long-term spectrum of `frames (b, features, l)`, once, as ActNorm does."""
        self.base.copy_(0.5 * torch.log(frames.float().pow(2).mean((0, 2)) + FLOOR)[:, None])
        self.initialised.fill_(True)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """The log scale `(b, features, l * ratio)` and what it was read from `(b, channels, l * ratio)`."""
        hidden = self.fine(self.upsample(self.coarse(self.input(latents))))
        log_scale = self.base + self.output(F.silu(self.norm(hidden))).float()
        return log_scale.clamp(*LOG_SCALE_RANGE), hidden


def negative_log_likelihood(frames: Tensor, log_scale: Tensor) -> Tensor:
    """-log N(frames; 0, exp(log_scale)) of each coefficient, without its constant.

    Beyond `KNEE` the squared ratio counts by its logarithm: an attack out of silence, 60 dB above its scale, would
    outweigh everything else in the batch.
    """
    ratio = (frames.square() + FLOOR) * torch.exp(-2 * log_scale)
    bounded = torch.where(ratio > KNEE, KNEE * (1 + (ratio.clamp(min=KNEE) / KNEE).log()), ratio)
    return 0.5 * bounded + log_scale
