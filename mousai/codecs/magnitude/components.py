"""The linear block transform between features and latents.

A block of `block` frames is turned by the DCT-II along time; at each temporal frequency the principal components of the
features are taken, and of all temporal frequencies together the `count` strongest stay: slow and strong patterns get many
latents, quick and weak ones few (transform coding with reverse water-filling, as in Goyal, IEEE SPM 18, 2001). "Strong" is
measured with weights on the features, so that what an ear follows comes first: mel density, bass and harmonics (the fine
structure of a spectrum above its local mean), attacks, mid before side. Latents have unit variance.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mousai.codecs.magnitude.features import FeatureConfig

CHUNK = 4096  # blocks whose products are summed at once


@dataclass(frozen=True)
class ComponentConfig:
    block: int = 4  # frames a latent frame
    count: int = 128  # latents a latent frame
    fine: tuple[float, float] = (2.4, 2.6)  # weight of the fine structure below the first and above the second frequency
    fine_hz: tuple[float, float] = (700.0, 4700.0)
    smoothing: int = 25  # rows, an odd number: what is narrower is fine structure
    side: float = 0.15  # weight of a squared error in the difference of the channels
    fast: float = 1.5  # weight of the fast path

    def __post_init__(self) -> None:
        if self.block < 1 or self.count < 1 or self.smoothing < 1 or self.smoothing % 2 == 0:
            raise ValueError(f"expected block, count >= 1 and an odd smoothing, came {self}")
        if min(*self.fine, self.side, self.fast) <= 0 or not 0 < self.fine_hz[0] < self.fine_hz[1]:
            raise ValueError(f"expected weights above 0 and rising fine_hz, came {self}")


class Components(nn.Module):
    """The transform as buffers: `mean (f, 1)`, `analysis` and `synthesis (d, f, block)`; all 0 until `fit`."""

    def __init__(self, config: ComponentConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("mean", torch.zeros(width, 1))
        self.register_buffer("analysis", torch.zeros(config.count, width, config.block))
        self.register_buffer("synthesis", torch.zeros(config.count, width, config.block))

    def encode(self, features: Tensor) -> Tensor:
        """Latents `(b, d, l / block)` of features `(b, f, l)`."""
        with torch.autocast(features.device.type, enabled=False):
            return F.conv1d(features.float() - self.mean, self.analysis, stride=self.config.block)

    def decode(self, latents: Tensor) -> Tensor:
        """The features `(b, f, l * block)` that latents `(b, d, l)` stand for."""
        with torch.autocast(latents.device.type, enabled=False):
            return F.conv_transpose1d(latents.float(), self.synthesis, stride=self.config.block) + self.mean

    @torch.no_grad()
    def fit(self, features: Iterable[Tensor], weights: Tensor) -> None:
        """Fit to `features`, `(b, f, l)` each; `weights (f, f)` maps an error to what is to be small of it."""
        block, basis = self.config.block, dct(self.config.block).to(self.mean)
        total, squares, count = torch.zeros_like(self.mean[:, 0]), None, 0
        for item in features:
            blocks = item.unfold(2, block, max(1, block // 2)).transpose(1, 2).flatten(0, 1)  # (n, f, block)
            turned = (blocks @ basis.T).permute(2, 1, 0)  # (block, f, n)
            squares = torch.zeros(block, *weights.shape).to(turned) if squares is None else squares
            for chunk in turned.split(CHUNK, dim=2):
                squares += chunk @ chunk.transpose(1, 2)
            total, count = total + turned[0].sum(1), count + len(blocks)
        if count < 2:
            raise ValueError("expected audio of at least two blocks to fit components to, came less")
        covariance = squares / count
        first = total / count  # the mean of temporal frequency 0; those of the others are 0 by stationarity
        covariance[0] -= torch.outer(first, first)
        self.mean.copy_((first / math.sqrt(block))[:, None])
        variances, vectors = strongest(weights @ covariance @ weights.T, self.config.count)
        inverse = torch.linalg.inv(weights)
        std = variances.clamp(min=1e-9).sqrt()[:, None, None]
        at = vectors.frequency
        self.analysis.copy_((vectors.axes @ weights)[:, :, None] * basis[at][:, None] / std)
        self.synthesis.copy_((vectors.axes @ inverse.T)[:, :, None] * basis[at][:, None] * std)


@dataclass(frozen=True)
class Axes:
    axes: Tensor  # (count, f), of length 1
    frequency: Tensor  # (count,): the temporal frequency that each belongs to


def strongest(covariances: Tensor, count: int) -> tuple[Tensor, Axes]:
    """Variances `(count,)` and axes of the strongest principal components of all `covariances (n, f, f)` together.

    They come by temporal frequency, and within it the strongest first.
    """
    variances, vectors = torch.linalg.eigh(covariances)  # rising
    if variances.numel() < count:
        raise ValueError(f"count: expected at most the {variances.numel()} numbers that a block has, came {count}")
    chosen = variances.flatten().argsort(descending=True, stable=True)[:count]
    frequency, order = chosen // variances.shape[1], chosen % variances.shape[1]
    by = torch.argsort(frequency, stable=True)
    frequency, order = frequency[by], order[by]
    return variances[frequency, order], Axes(vectors[frequency, :, order], frequency)


def feature_weights(config: ComponentConfig, features: FeatureConfig, channels: int, sample_rate: int) -> Tensor:
    """The matrix `(f, f)` that turns an error of the features into what the components minimise the square of."""
    hz, bins = row_frequencies(features, sample_rate)
    density = bins / (700 + hz)  # mels a row is worth
    density = density / density.mean()
    low, high = (math.log(hz) for hz in config.fine_hz)
    fine = config.fine[0] + (config.fine[1] - config.fine[0]) * ((hz.clamp(min=1).log() - low) / (high - low)).clamp(0, 1)
    smooth = torch.block_diag(smoothing(features.single, config.smoothing), torch.eye(features.rows - features.single))
    slow = density.sqrt()[:, None] * (fine[:, None] * (torch.eye(features.rows) - smooth) + smooth)
    per_band = config.fast * math.sqrt(features.rows / (features.bands * features.sub))
    fast = per_band * torch.eye(features.bands * features.sub)
    by_channel = [1.0, *[math.sqrt(config.side)] * (channels - 1)]
    return torch.block_diag(*[slow * w for w in by_channel], *[fast * w for w in by_channel])


def row_frequencies(features: FeatureConfig, sample_rate: int) -> tuple[Tensor, Tensor]:
    """The centre of each row of the slow path in hertz `(rows,)`, and how many bins it holds `(rows,)`."""
    bins = torch.cat([torch.full((rows,), float(size)) for rows, size in features.groups])
    return (bins.cumsum(0) - (bins + 1) / 2) * sample_rate / features.n_fft, bins


def smoothing(rows: int, width: int) -> Tensor:
    """The matrix `(rows, rows)` of the mean over `width` neighbours, fewer at the ends."""
    return local_mean(torch.eye(rows)[None], width)[0]


def local_mean(x: Tensor, width: int) -> Tensor:
    """The mean of `x (..., rows, l)` over `width` neighbouring rows, fewer at the ends."""
    flat = x.reshape(-1, 1, *x.shape[-2:])
    return F.avg_pool2d(flat, (width, 1), 1, (width // 2, 0), count_include_pad=False).reshape(x.shape)


def dct(n: int) -> Tensor:
    """The orthonormal DCT-II `(n, n)`: row k is the cosine of frequency k."""
    k, j = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    basis = torch.cos(math.pi / n * (j + 0.5) * k) * math.sqrt(2 / n)
    basis[0] /= math.sqrt(2)
    return basis.float()
