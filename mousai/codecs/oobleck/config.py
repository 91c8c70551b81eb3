"""The shape of an Oobleck autoencoder, and how many latent frames its convolutions see."""

from __future__ import annotations

import math
from dataclasses import dataclass

UNIT_REACH = 3 * (1 + 3 + 9)  # positions on each side that three residual units see: kernels of 7, dilations 1, 3 and 9


@dataclass(frozen=True)
class OobleckConfig:
    """Defaults are the published shape: 44.1 kHz stereo, 2,048 samples a latent frame, 156M weights."""

    sample_rate: int = 44100
    channels: int = 2
    latent_channels: int = 64
    features: int = 128  # of the encoder's first layer; twice the latent channels, whose means and spreads it ends with
    decoder_features: int = 128  # of the decoder's last layer
    factors: tuple[int, ...] = (2, 4, 4, 8, 8)  # of each level, by which frames become fewer
    multipliers: tuple[int, ...] = (1, 2, 4, 8, 16)  # of the features, after each level
    stride_frames: int = 128  # latent frames that one window yields; more takes more memory

    def __post_init__(self) -> None:
        if min(self.sample_rate, self.channels, self.latent_channels, self.features, self.decoder_features, *self.factors, *self.multipliers) < 1:
            raise ValueError(f"expected every number to be 1 or more, came {self}")
        if not self.factors or len(self.factors) != len(self.multipliers):
            raise ValueError(f"expected a multiplier for each of the factors, came {len(self.factors)} and {len(self.multipliers)}")
        if any(factor % 2 for factor in self.factors):
            raise ValueError(f"factors: expected even numbers (of odd ones the decoder loses samples), came {self.factors}")
        if self.features != 2 * self.latent_channels:
            raise ValueError(f"features: expected twice the latent channels, {2 * self.latent_channels}, came {self.features}")
        if self.stride_frames < self.context_frames:
            raise ValueError(f"stride_frames: expected at least {self.context_frames}, twice what the convolutions see, came {self.stride_frames}")

    @property
    def hop(self) -> int:
        """Samples of a latent frame."""
        return math.prod(self.factors)

    @property
    def reach_frames(self) -> int:
        """Latent frames on each side of one that the encoder or the decoder sees, whichever sees more."""
        return max(encoder_reach(self.factors), decoder_reach(self.factors))

    @property
    def context_frames(self) -> int:
        """Frames that a window sees on each side: with half of them dropped, what is left is exactly what one window over everything gives."""
        return 2 * self.reach_frames


def encoder_reach(factors: tuple[int, ...]) -> int:
    """Latent frames on each side of one that its latents follow from."""
    first, last = -1, 1  # the last layer, a kernel of 3
    for factor in reversed(factors):
        first, last = first * factor - factor // 2, last * factor + 2 * factor - 1 - factor // 2
        first, last = first - UNIT_REACH, last + UNIT_REACH
    hop = math.prod(factors)
    return math.ceil(max(-first + 3, last + 3 - (hop - 1)) / hop)


def decoder_reach(factors: tuple[int, ...]) -> int:
    """Latent frames on each side of one that its samples follow from."""
    first, last = -3, math.prod(factors) - 1 + 3  # the last layer, a kernel of 7
    for factor in factors:
        first, last = first - UNIT_REACH, last + UNIT_REACH
        first, last = math.ceil((first + factor // 2 - 2 * factor + 1) / factor), (last + factor // 2) // factor
    return max(-(first - 3), last + 3)
