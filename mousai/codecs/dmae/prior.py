"""The envelope prior: what a latent says of the spectrum's envelope, so that diffusion starts from noise of that shape.

Diffusion from white noise spends a small model's effort on the 70 dB between music's loudest and quietest bands. A
prior whose scale follows the condition removes that (PriorGrad, Lee et al., arXiv 2106.06406; SpecGrad, Koizumi et
al., arXiv 2203.16749). Here the scale of every transform coefficient is read from the latents: that of noise whose
mean log spectrum is the music's, trained with the encoder by the distance of the two. The decoder then diffuses
coefficient / scale.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOG_SCALE_RANGE = (math.log(1e-5), 4.0)
# Mean log magnitude of white noise of unit variance in an STFT over sqrt(n_fft) with a Hann window: -gamma / 2 for the
# exponential distribution of its power, and the window's mean square, 3 / 8.
NOISE_LOG_MEAN = 0.5 * (-0.5772156649 + math.log(3 / 8))


@dataclass(frozen=True)
class PriorConfig:
    channels: int = 256  # width, and the channels injected into the decoder
    blocks: int = 2  # residual blocks before and after the upsampling
    weight: float = 1.0  # of its distance beside the diffusion loss

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
        self.linear = nn.ConvTranspose1d(latent_channels, features, ratio, ratio, bias=False)
        for layer in (self.output, self.linear):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.output.bias)
        self.register_buffer("base", torch.zeros(features, 1))  # log scale of each band where all latents are 0
        self.register_buffer("spread", torch.ones(features, 1))  # standard deviation of asinh(coefficient / scale)
        self.register_buffer("initialised", torch.zeros((), dtype=torch.bool))

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """The log scale `(b, features, l * ratio)` and what it was read from `(b, channels, l * ratio)`."""
        hidden = self.fine(self.upsample(self.coarse(self.input(latents))))
        log_scale = self.base + (self.output(F.silu(self.norm(hidden))) + self.linear(latents)).float()
        return log_scale.clamp(*LOG_SCALE_RANGE), hidden


@dataclass(frozen=True)
class Components:
    """The principal components of log spectra, blocks of `ratio` frames of `features` bands each."""

    mean: Tensor  # (features,)
    analysis: Tensor  # (d, features, ratio): from a block less the mean to coordinates of unit variance
    synthesis: Tensor  # (d, features, ratio): from coordinates to a block less the mean


def principal_components(log_spectra: Tensor, weights: Tensor, count: int, ratio: int) -> Components:
    """The `count` strongest components of `log_spectra (b, features, l * ratio)`.

    `weights (features, 1)` says how much a squared error in a band matters.
    """
    features = log_spectra.shape[1]
    blocks = log_spectra.double().unflatten(2, (-1, ratio)).transpose(1, 2).flatten(0, 1)  # (b l, features, ratio)
    mean = blocks.mean((0, 2))
    root = weights.double().sqrt()
    centred = ((blocks - mean[:, None]) * root).flatten(1)
    variances, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    std = variances[-count:].flip(0).clamp(min=1e-8).sqrt()[:, None, None]
    vectors = vectors[:, -count:].flip(1).T.unflatten(1, (features, ratio))
    return Components(mean.float(), (vectors * root / std).float(), (vectors / root * std).float())
