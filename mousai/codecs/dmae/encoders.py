"""Moûsai's audio encoders: a residual convolutional stack over STFT magnitudes or mel bands, phase discarded.

arXiv 2301.11757, section 3.2 and appendix: the `ME1d` and `MelE1d` of audio-encoders-pytorch, whose parameter names
these keep. Differences: spectra are taken in float32 whatever the weights are, logarithms have a floor (those of
magnitudes are standardised, too), and nothing is divided by a batch's maximum, so that silence and a clip's
neighbours in the batch do no harm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F

from mousai.audio.spectral import mel_filterbank


@dataclass(frozen=True)
class EncoderConfig:
    """Shape of an `Encoder`; `multipliers` has one entry more than `factors` and `num_blocks`."""

    spectrum: Literal["magnitude", "log_magnitude", "mel", "log_mel"] = "magnitude"
    in_channels: int = 2  # audio channels
    channels: int = 512
    multipliers: tuple[int, ...] = (1, 1, 1)  # of channels: at the entrance, then after each stage
    factors: tuple[int, ...] = (2, 2)  # by how much each stage shortens its input
    num_blocks: tuple[int, ...] = (4, 8)  # residual blocks a stage
    out_channels: int = 32
    patch_size: int = 1
    resnet_groups: int = 8
    bottleneck: Literal["tanh", "none"] = "tanh"
    linear: Literal["none", "beside", "only"] = "none"  # a linear map of the spectrum beside the stack, or in its place
    n_fft: int = 1023  # magnitude: odd, so that s samples give exactly s / hop_length frames; mel: even
    hop_length: int = 256
    mel_bands: int = 80  # mel spectra only
    sample_rate: int = 48000  # mel spectra only

    def __post_init__(self) -> None:
        stages = len(self.multipliers) - 1
        if stages < 0 or len(self.factors) != stages or len(self.num_blocks) != stages:
            came = f"{len(self.multipliers)}, {len(self.factors)}, {len(self.num_blocks)}"
            raise ValueError(f"multipliers, factors, num_blocks: expected n + 1, n and n entries, came {came}")
        for name in ("in_channels", "channels", "out_channels", "patch_size", "resnet_groups", "hop_length", "mel_bands"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, came {getattr(self, name)}")
        if min(self.multipliers) < 1 or min(self.factors, default=1) < 1 or min(self.num_blocks, default=0) < 0:
            raise ValueError("multipliers, factors: expected at least 1, num_blocks: at least 0")
        if any(self.channels * multiplier % self.resnet_groups for multiplier in self.multipliers[1:]):
            raise ValueError(f"channels x multipliers: expected multiples of resnet_groups = {self.resnet_groups}")
        if self.channels * self.multipliers[0] % self.patch_size:
            raise ValueError(f"channels x multipliers[0]: expected a multiple of patch_size = {self.patch_size}")
        if self.is_mel == self.n_fft % 2 or self.n_fft < self.hop_length:
            kind = "even" if self.is_mel else "odd"
            raise ValueError(f"n_fft: {self.spectrum} takes an {kind} number of at least hop_length, came {self.n_fft}")

    @property
    def is_mel(self) -> bool:
        return self.spectrum in ("mel", "log_mel")

    @property
    def bands(self) -> int:
        """Bands of one audio channel's spectrum."""
        return self.mel_bands if self.is_mel else self.n_fft // 2 + 1

    @property
    def hop(self) -> int:
        """Samples a latent frame."""
        return self.hop_length * self.patch_size * math.prod(self.factors)


LOG_FLOOR = 1e-5  # of magnitudes, where their logarithm is taken
LOG_MEAN, LOG_STD = -5.0, 2.5  # what log magnitudes of music at ordinary levels are about; released models have none


class Spectrum(nn.Module):
    """Audio `(b, c, s)` to the spectrum that the config names, `(b, c * bands, s / hop_length)`, in float32."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("window", torch.hann_window(config.n_fft), persistent=False)
        if config.is_mel:
            filters = mel_filterbank(config.sample_rate, config.n_fft, config.mel_bands)  # those that released encoders were trained on
            self.register_buffer("filters", filters, persistent=False)

    def forward(self, audio: Tensor) -> Tensor:
        with torch.autocast(audio.device.type, enabled=False):
            config, items = self.config, audio.shape[0]
            x = rearrange(audio.float(), "b c s -> (b c) s")
            # As many frames as s / hop_length, the first and the last one centred near the ends.
            padding = (config.n_fft - config.hop_length) // 2 if config.is_mel else config.n_fft // 2
            x = F.pad(x[:, None], (padding, padding), mode="reflect")[:, 0]
            window = self.window.float()
            x = torch.stft(
                x,
                config.n_fft,
                config.hop_length,
                window=window,
                center=False,
                normalized=not config.is_mel,
                return_complex=True,
            ).abs()  # (b c, f, l)
            if config.is_mel:
                x = self.filters.float() @ x
            if config.spectrum.startswith("log"):
                x = x.clamp(min=LOG_FLOOR).log()
            if config.spectrum == "log_magnitude":
                x = (x - LOG_MEAN) / LOG_STD
            return rearrange(x, "(b c) f l -> b (c f) l", b=items)


class Encoder(nn.Module):
    """Audio `(b, c, s)` to latents `(b, out_channels, s / hop)`, in [-1, 1] with the tanh bottleneck.

    s is a multiple of `hop` and more than half of `n_fft`: a codec pads.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.hop = config.hop
        self.spectrum = Spectrum(config)
        self.linear = self.to_in = None
        if config.linear != "none":  # begins as principal components: see MDCTDMAE.initialise
            factor = config.hop // config.hop_length
            self.linear = nn.Conv1d(config.in_channels * config.bands, config.out_channels, factor, stride=factor)
        if config.linear == "only":
            return
        widths = [config.channels * multiplier for multiplier in config.multipliers]
        self.to_in = Patcher(config.in_channels * config.bands, widths[0], config.patch_size)
        self.downsamples = nn.ModuleList(
            Stage(width, after, factor, blocks, config.resnet_groups)
            for width, after, factor, blocks in zip(widths[:-1], widths[1:], config.factors, config.num_blocks, strict=True)
        )
        self.to_out = nn.Conv1d(widths[-1], config.out_channels, 1)
        if self.linear is not None:
            nn.init.zeros_(self.to_out.weight)
            nn.init.zeros_(self.to_out.bias)

    def forward(self, audio: Tensor) -> Tensor:
        config = self.config
        if audio.ndim != 3 or audio.shape[1] != config.in_channels or audio.shape[2] % self.hop:
            expected = f"(b, {config.in_channels}, a multiple of {self.hop})"
            raise ValueError(f"expected audio of shape {expected}, came {tuple(audio.shape)}; pad it")
        if audio.shape[2] <= config.n_fft // 2:
            raise ValueError(f"expected more than {config.n_fft // 2} samples, came {audio.shape[2]}; pad it")
        return self.compressed(self.spectrum(audio)).to(audio.dtype)

    def compressed(self, spectrum: Tensor) -> Tensor:
        """Latents of what `spectrum` gives for audio."""
        dtype = next(self.parameters()).dtype
        spectrum = spectrum if torch.is_autocast_enabled(spectrum.device.type) else spectrum.to(dtype)
        x = 0.0 if self.linear is None else self.linear(spectrum)
        if self.to_in is not None:
            stack = self.to_in(spectrum)
            for downsample in self.downsamples:
                stack = downsample(stack)
            x = x + self.to_out(stack)
        return torch.tanh(x) if self.config.bottleneck == "tanh" else x


class ConvBlock(nn.Module):
    """GroupNorm, SiLU, convolution."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.groupnorm = nn.GroupNorm(groups, in_channels)
        self.project = nn.Conv1d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(F.silu(self.groupnorm(x)))


class ResnetBlock(nn.Module):
    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.block1 = ConvBlock(in_channels, out_channels, groups)
        self.block2 = ConvBlock(out_channels, out_channels, groups)
        self.to_out = nn.Conv1d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.block2(self.block1(x)) + self.to_out(x)


class Patcher(nn.Module):
    """The entrance: a residual block, then `patch_size` neighbouring frames folded into channels."""

    def __init__(self, in_channels: int, out_channels: int, patch_size: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.block = ResnetBlock(in_channels, out_channels // patch_size, min(patch_size, in_channels))

    def forward(self, x: Tensor) -> Tensor:
        return rearrange(self.block(x), "b c (l p) -> b (c p) l", p=self.patch_size)


class Stage(nn.Module):
    """A strided convolution that shortens its input by `factor`, then residual blocks."""

    def __init__(self, in_channels: int, out_channels: int, factor: int, blocks: int, groups: int) -> None:
        super().__init__()
        self.downsample = nn.Conv1d(in_channels, out_channels, 2 * factor + 1, stride=factor, padding=factor)
        self.blocks = nn.ModuleList(ResnetBlock(out_channels, out_channels, groups) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        for block in self.blocks:
            x = block(x)
        return x
