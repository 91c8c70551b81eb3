"""Log-mel spectra of any length to one vector: convolutions over time, halved three times or so, then mean and spread over time.

Blocks are those of ConvNeXt (Liu et al., arXiv 2201.03545) in one dimension: a depthwise convolution, a norm and an MLP, added to x.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mousai.networks.linear import Linear


@dataclass(frozen=True)
class MelTowerConfig:
    """Shape of a `MelTower`; each stage halves the frames."""

    channels: tuple[int, ...] = (96, 192, 256)
    blocks: tuple[int, ...] = (1, 1, 2)
    kernel: int = 7  # frames of a depthwise convolution
    mlp: int = 2  # hidden features of a block's MLP, times its channels
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.blocks) or not self.channels or min(self.channels) < 1 or min(self.blocks) < 0:
            raise ValueError(f"expected channels of 1 or more and as many blocks, came {self.channels} and {self.blocks}")
        if self.kernel < 1 or not self.kernel % 2 or self.mlp < 1 or not 0 <= self.dropout < 1:
            raise ValueError(f"expected an odd kernel, mlp of 1 or more and 0 <= dropout < 1, came {self}")


class ConvBlock(nn.Module):
    """x `(b, d, l)` and what a convolution and an MLP make of it."""

    def __init__(self, features: int, config: MelTowerConfig) -> None:
        super().__init__()
        self.near = nn.Conv1d(features, features, config.kernel, padding=config.kernel // 2, groups=features)
        self.norm = nn.LayerNorm(features)
        self.up, self.down = Linear(features, config.mlp * features), Linear(config.mlp * features, features)
        nn.init.normal_(self.down.weight, std=0.02)
        nn.init.zeros_(self.down.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(F.gelu(self.up(self.norm(self.near(x).transpose(1, 2))))).transpose(1, 2)


class MelTower(nn.Module):
    """Log-mel spectra `(b, bands, l)` in dB to vectors `(b, features)`; their level does not matter."""

    def __init__(self, config: MelTowerConfig, bands: int, features: int) -> None:
        super().__init__()
        widths = (bands, *config.channels)
        self.factor = 2 ** len(config.channels)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv1d(before, d, 4, stride=2, padding=1), *(ConvBlock(d, config) for _ in range(count)))
            for before, d, count in zip(widths, config.channels, config.blocks)
        )
        self.norm = nn.LayerNorm(2 * widths[-1])
        self.dropout = nn.Dropout(config.dropout)
        self.leave = nn.Linear(2 * widths[-1], features)

    def forward(self, mel: Tensor, frames: Tensor | None = None) -> Tensor:
        """`frames (b,)` counts the real ones where some are padding."""
        length = mel.shape[-1]
        real = torch.full((len(mel),), length, device=mel.device) if frames is None else frames.to(mel.device)
        x = F.pad(standardised(mel, real), (0, -length % self.factor))
        for stage in self.stages:
            x = stage(x)
        weight = weights_of((real / self.factor).ceil(), x.shape[-1])
        mean = (x * weight).sum(-1)
        spread = ((x - mean[..., None]).square() * weight).sum(-1).add(1e-6).sqrt()
        return self.leave(self.dropout(self.norm(torch.cat([mean, spread], dim=-1))))


def weights_of(real: Tensor, length: int) -> Tensor:
    """What each of `length` frames counts in a mean over the first `real (b,)`: `(b, 1, length)`, of sum 1."""
    inside = (torch.arange(length, device=real.device) < real[:, None]).float()
    return (inside / inside.sum(-1, keepdim=True).clamp(min=1))[:, None]


def standardised(mel: Tensor, real: Tensor) -> Tensor:
    """Decibels with a mean of 0 over bands and real frames, in units of 15 dB; padding is 0."""
    weight = weights_of(real, mel.shape[-1])
    mean = (mel * weight).sum(-1, keepdim=True).mean(1, keepdim=True)
    return (mel - mean) / 15 * (weight > 0)
