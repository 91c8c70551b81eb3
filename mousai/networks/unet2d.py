"""A conditional 2-D U-Net over spectrograms: frequency by time, small and convolutional, in channels-last layout.

Like the U-Nets of image diffusion (Ho et al., arXiv 2006.11239) without attention; each level has an embedding of its
frequency rows, since a spectrum is not alike everywhere, and its blocks are modulated by time and, frame by frame, by
features that a caller gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TIME_FREQUENCIES = 16
HIGHEST_FREQUENCY = 100.0


@dataclass(frozen=True)
class UNet2dConfig:
    channels: tuple[int, ...] = (40, 80, 128, 160)  # by level; each next one has half the rows and half the frames
    blocks: tuple[int, ...] = (1, 1, 1, 1)  # residual blocks by level, on either way
    patch: int = 4  # neighbouring rows that become channels at the entrance
    embedding: int = 128  # features of time and frames that modulate the blocks

    def __post_init__(self) -> None:
        if not self.channels or len(self.blocks) != len(self.channels):
            raise ValueError(f"blocks: expected as many as channels, {len(self.channels)}, came {len(self.blocks)}")
        if min(*self.channels, *self.blocks, self.patch, self.embedding) < 1:
            raise ValueError(f"expected channels, blocks, patch and embedding of at least 1, came {self}")

    @property
    def factor(self) -> int:
        """What divides the frames, and with `patch` the rows."""
        return 2 ** (len(self.channels) - 1)


class UNet2d(nn.Module):
    """`(b, c, rows, l)` with a condition of `condition` more channels to `(b, c, rows, l)`, 0 before training."""

    def __init__(self, config: UNet2dConfig, channels: int, condition: int, rows: int, frame_features: int) -> None:
        super().__init__()
        if rows % (config.patch * config.factor):
            raise ValueError(f"unet: expected rows, {rows}, to be a multiple of patch x 2^levels = {config.patch * config.factor}")
        self.config, self.channels, self.rows = config, channels, rows
        widths, patch, features = config.channels, config.patch, config.embedding
        self.time = nn.Sequential(nn.Linear(2 * TIME_FREQUENCIES, features), nn.SiLU(), nn.Linear(features, features))
        self.frames = nn.Linear(frame_features, features)
        self.entrance = nn.Conv2d(patch * (channels + condition), widths[0], 3, padding=1)
        self.row_embeddings = nn.ParameterList(
            nn.Parameter(0.02 * torch.randn(1, width, rows // patch // 2**level, 1)) for level, width in enumerate(widths)
        )
        for side in ("down", "up"):
            levels = (nn.ModuleList(Block(width, features) for _ in range(n)) for width, n in zip(widths, config.blocks, strict=True))
            setattr(self, f"{side}_blocks", nn.ModuleList(levels))
        self.shrink = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in zip(widths, widths[1:]))
        self.grow = nn.ModuleList(nn.Conv2d(b, a, 1) for a, b in zip(widths, widths[1:]))
        self.exit = nn.Conv2d(widths[0], patch * channels, 3, padding=1)
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)

    @property
    def dtype(self) -> torch.dtype:
        return self.exit.weight.dtype

    def row_bytes(self, num_frames: int) -> int:
        """About the memory of a step for one row: 6 times the largest level, and what waits for the way up."""
        widths = [width * self.rows * num_frames // self.config.patch // 4**level for level, width in enumerate(self.config.channels)]
        return (6 * max(widths) + sum(widths)) * self.dtype.itemsize

    def forward(self, x: Tensor, t: Tensor, condition: Tensor, frames: Tensor) -> Tensor:
        """The network's answer in float32 at times `t (b,)`, float32; `condition (b, condition, rows, l)`, `frames (b, frame_features, l)`.

        l is a multiple of `config.factor`.
        """
        if x.shape[3] % self.config.factor:
            raise ValueError(f"expected frames in multiples of {self.config.factor}, came {x.shape[3]}")
        patch = self.config.patch
        h = rows_to_channels(torch.cat([x, condition], dim=1).to(self.dtype), patch)
        embeddings = self.embeddings(t, frames)
        h, skips = self.entrance(h), []
        for level, blocks in enumerate(self.down_blocks):
            h = h + self.row_embeddings[level]
            for block in blocks:
                h = block(h, embeddings[level])
            if level < len(self.shrink):
                skips.append(h)
                h = self.shrink[level](h)
        for level, blocks in reversed(list(enumerate(self.up_blocks))):
            for block in blocks:
                h = block(h, embeddings[level])
            if level:
                h = F.interpolate(self.grow[level - 1](h), scale_factor=2.0, mode="nearest") + skips.pop()
        return channels_to_rows(self.exit(F.silu(channel_norm(h))).float(), patch)

    def embeddings(self, t: Tensor, frames: Tensor) -> list[Tensor]:
        """What modulates each level, `(b, l / 2^level, embedding)`."""
        scale = torch.exp(torch.linspace(0, math.log(HIGHEST_FREQUENCY), TIME_FREQUENCIES, device=t.device))
        angles = t[:, None] * scale
        waves = torch.cat([angles.sin(), angles.cos()], dim=1)
        h = self.time(waves.to(self.dtype))[:, None] + self.frames(frames.transpose(1, 2).to(self.dtype))
        levels = [h]
        for _ in self.shrink:
            levels.append(levels[-1].unflatten(1, (-1, 2)).mean(2))
        return [F.silu(level) for level in levels]


class Block(nn.Module):
    """x plus two convolutions of it, modulated between them; the identity before training."""

    def __init__(self, channels: int, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.modulation = nn.Linear(features, 2 * channels)
        for layer in (self.conv2, self.modulation):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        scale, shift = self.modulation(embedding).transpose(1, 2)[:, :, None].chunk(2, dim=1)  # (b, c, 1, l)
        h = self.conv1(F.silu(channel_norm(x)))
        return x + self.conv2(F.silu(h * (1 + scale) + shift))


def channel_norm(x: Tensor) -> Tensor:
    """`x (b, c, f, l)` at zero mean and unit variance over its channels, place by place."""
    return F.layer_norm(x.permute(0, 2, 3, 1), (x.shape[1],)).permute(0, 3, 1, 2)


def rows_to_channels(x: Tensor, patch: int) -> Tensor:
    """`(b, c, f, l)` to `(b, patch * c, f / patch, l)`, channels last in memory."""
    b, c, f, length = x.shape
    x = x.reshape(b, c, f // patch, patch, length).permute(0, 2, 4, 3, 1).reshape(b, f // patch, length, patch * c)
    return x.permute(0, 3, 1, 2)


def channels_to_rows(x: Tensor, patch: int) -> Tensor:
    """The inverse of `rows_to_channels`."""
    b, c, f, length = x.shape
    x = x.permute(0, 2, 3, 1).reshape(b, f, length, patch, c // patch)
    return x.permute(0, 4, 1, 3, 2).reshape(b, c // patch, f * patch, length)
