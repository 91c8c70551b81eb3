"""From latents to features: the linear decode, a network that betters its fast path, and diffusion of its fine structure.

What a linear transform of so few numbers leaves out of the lowest rows is mostly grain, which no codec of this rate can
keep and an ear misses when it is gone. So the residual of the log magnitudes, true less linear, is sampled: a v-objective
diffusion model of the normalised residual, conditioned on the linear decode (Schneider et al., arXiv 2301.11757, diffuse
the waveform given magnitudes; here the magnitudes themselves are diffused).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mousai.codecs.magnitude.components import feature_weights, local_mean, row_frequencies
from mousai.codecs.magnitude.config import MagnitudeConfig, ReaderConfig
from mousai.networks.unet2d import UNet2d

RESIDUAL_RANGE = (-3.0, 3.5)  # standard deviations; beyond lie the logarithms of zeros, and slips of a small decoder
QUIET_NEPERS = 5.5  # below a clip's loudest neighbourhood an error counts half
QUIET_WEIGHT = 0.25  # and far below it this much
MID_WEIGHT, SIDE_WEIGHT = 1.2, 0.8


class Reader(nn.Module):
    """Latents `(b, d, l)` to corrections of undiffused features and to the frames' features, both in frames."""

    def __init__(self, config: ReaderConfig, latent_channels: int, rest: int, block: int) -> None:
        super().__init__()
        width = config.channels
        self.block, self.rest = block, rest
        self.entrance = nn.Conv1d(latent_channels + 1, width, 3, padding=1)
        self.blocks = nn.ModuleList(ReaderBlock(width) for _ in range(config.blocks))
        self.norm = nn.GroupNorm(8, width)
        self.correction = nn.Conv1d(width, rest * block, 1)
        self.features = nn.Conv1d(width, config.features * block, 1)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def forward(self, latents: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """`(b, rest, l * block)` and `(b, features, l * block)`; `level (b,)` is the standard deviation of noise on the latents."""
        told = level[:, None, None].expand(-1, 1, latents.shape[2]).to(latents.dtype)
        h = self.entrance(torch.cat([latents, told], dim=1))
        for block in self.blocks:
            h = block(h)
        h = F.silu(self.norm(h))
        return self._in_frames(self.correction(h)), self._in_frames(self.features(h))

    def _in_frames(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (-1, self.block)).transpose(2, 3).flatten(2)  # (b, e block, l) -> (b, e, l block)


class ReaderBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.conv1 = nn.Conv1d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))


class Decoder(nn.Module):
    """The trained half of the codec; `linear` everywhere is what the components decode, `(b, f, l)`."""

    def __init__(self, config: MagnitudeConfig) -> None:
        super().__init__()
        features, channels = config.features, config.channels
        self.channels, self.rows, self.single = channels, features.rows, features.single
        self.smoothing = config.components.smoothing
        width = channels * features.per_channel
        rest = width - channels * self.single
        self.reader = Reader(config.reader, config.components.count, rest, config.components.block)
        self.unet = UNet2d(config.unet, channels, 2 * channels, self.single, config.reader.features)
        shape = (channels, self.single, 1)
        for name in ("residual_mean", "level_mean"):
            self.register_buffer(name, torch.zeros(shape))
        for name in ("residual_std", "level_std"):
            self.register_buffer(name, torch.ones(shape))
        weights = feature_weights(config.components, features, channels, config.sample_rate).diagonal()
        weights = self.rest(weights[None, :, None])
        self.register_buffer("rest_weights", weights / weights.mean(), persistent=False)  # (1, rest, 1)
        hz, _ = row_frequencies(features, config.sample_rate)
        density = (1 / (700 + hz[: self.single])).sqrt()
        stereo = torch.tensor([MID_WEIGHT, SIDE_WEIGHT] if channels == 2 else [1.0])
        self.register_buffer("row_weights", stereo[:, None, None] * (density / density.mean())[:, None], persistent=False)

    # -- parts of features -----------------------------------------------------------------------------------------

    def fine(self, features: Tensor) -> Tensor:
        """The rows that are diffused `(b, c, single, l)`."""
        return features[:, : self.channels * self.rows].unflatten(1, (self.channels, -1))[:, :, : self.single]

    def rest(self, features: Tensor) -> Tensor:
        """All the other features `(b, rest, l)`."""
        slow = features[:, : self.channels * self.rows].unflatten(1, (self.channels, -1))[:, :, self.single :]
        return torch.cat([slow.flatten(1, 2), features[:, self.channels * self.rows :]], dim=1)

    def joined(self, fine: Tensor, rest: Tensor) -> Tensor:
        """Features of both parts: the inverse of `fine` and `rest`."""
        above = self.channels * (self.rows - self.single)
        slow = torch.cat([fine, rest[:, :above].unflatten(1, (self.channels, -1))], dim=2)
        return torch.cat([slow.flatten(1, 2), rest[:, above:]], dim=1)

    # -- the diffused residual -------------------------------------------------------------------------------------

    @torch.no_grad()
    def measure(self, true: Tensor, linear: Tensor) -> None:
        """Store the mean and spread of the residual and of the levels, of features `(b, f, l)`."""
        residual, level = self.fine(true) - self.fine(linear), self.fine(linear)
        for name, value in (("residual", residual), ("level", level)):
            getattr(self, f"{name}_mean").copy_(value.mean((0, 3))[..., None])
            getattr(self, f"{name}_std").copy_(value.std((0, 3))[..., None].clamp(min=1e-2))

    def residual(self, true: Tensor, linear: Tensor) -> Tensor:
        """What is diffused, `(b, c, single, l)`, at unit variance."""
        residual = self.fine(true) - self.fine(linear) - self.residual_mean
        return (residual / self.residual_std).clamp(*RESIDUAL_RANGE)

    def with_residual(self, x: Tensor, linear: Tensor, correction: Tensor) -> Tensor:
        """The features of a sampled residual and the reader's correction."""
        fine = self.fine(linear) + self.residual_mean + self.residual_std * x.clamp(*RESIDUAL_RANGE)
        return self.joined(fine, self.rest(linear) + correction.float())

    def condition(self, linear: Tensor) -> Tensor:
        """What the U-Net sees of the linear decode, `(b, 2 c, single, l)`: levels, and what stands out of its neighbourhood."""
        fine = self.fine(linear)
        standing_out = 2 * (fine - local_mean(fine, self.smoothing))
        return torch.cat([(fine - self.level_mean) / self.level_std, standing_out], dim=1)

    def weights(self, linear: Tensor) -> Tensor:
        """How much an error of the residual matters, `(b, c, single, l)`: by frequency, and where a clip is loud."""
        level = local_mean(self.fine(linear), self.smoothing)
        loudest = level[:, :1].amax((1, 2, 3), keepdim=True)
        return self.row_weights * (QUIET_WEIGHT + (1 - QUIET_WEIGHT) * torch.sigmoid(level - loudest + QUIET_NEPERS))
