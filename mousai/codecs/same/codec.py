"""Stable Audio 3's autoencoder, SAME (arXiv 2605.17991), as diffusers has it, as a codec of the house.

Transformers whose attention reaches a few latent frames and no farther, at positions that are relative: windows which overlap by
what they reach give what one pass over everything gives, in memory that does not grow with the square of the length. It is
taken as released, and not trained here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mousai.checks import extra
from mousai.codecs.released import ReleasedCodec
from mousai.types import Callback


@dataclass(frozen=True)
class SameConfig:
    """Defaults are SAME-S: 44.1 kHz stereo, 4,096 samples a latent frame, 108M weights."""

    sample_rate: int = 44100
    channels: int = 2
    latent_channels: int = 256
    patch: int = 256  # samples that are one position of the first level
    features: int = 128
    multipliers: tuple[int, ...] = (6,)  # of the features, of each level
    factors: tuple[int, ...] = (16,)  # by which positions become fewer in each level
    depths: tuple[int, ...] = (6,)  # layers of each level
    head_features: int = 64
    mlp: int = 3  # hidden features, times a level's
    window: int = 1  # outputs of a level that a layer's attention reaches on each side
    differential: bool = True  # attention is the difference of two
    encoder_sines: tuple[int, ...] = (0,)  # last layers of each level that are gated by a sine
    decoder_sines: tuple[int, ...] = (0,)
    stride_frames: int = 96  # latent frames that one window yields; more takes more memory

    def __post_init__(self) -> None:
        if min(self.sample_rate, self.channels, self.latent_channels, self.patch, self.features, self.head_features, self.mlp, self.window) < 1:
            raise ValueError(f"expected every number to be 1 or more, came {self}")
        if not self.factors or not len(self.factors) == len(self.multipliers) == len(self.depths) or min(*self.factors, *self.multipliers, *self.depths) < 1:
            raise ValueError(f"expected factors, multipliers and depths of as many levels, each 1 or more, came {self}")
        if any(len(sines) not in (1, len(self.factors)) for sines in (self.encoder_sines, self.decoder_sines)):
            raise ValueError(f"encoder_sines, decoder_sines: expected one number, or one a level, came {self}")
        if self.stride_frames < self.context_frames:
            raise ValueError(f"stride_frames: expected at least {self.context_frames}, twice what attention reaches, came {self.stride_frames}")

    @property
    def hop(self) -> int:
        """Samples of a latent frame."""
        return self.patch * math.prod(self.factors)

    @property
    def context_frames(self) -> int:
        """Frames that a window sees on each side, twice those that attention reaches through all layers: half of them are dropped."""
        finer = [math.prod(self.factors[level + 1 :]) for level in range(len(self.factors))]  # outputs of a level in a latent frame
        return 2 * sum(math.ceil(depth * self.window / each) for depth, each in zip(self.depths, finer))


class SameCodec(ReleasedCodec):
    name = "same"

    def __init__(self, config: SameConfig) -> None:
        super().__init__(config)
        AutoencoderSAME = extra("diffusers", "the codec same", module="diffusers.models").AutoencoderSAME
        self.vae = AutoencoderSAME(
            audio_channels=config.channels, patch_size=config.patch, encoder_channels=config.features, encoder_c_mults=list(config.multipliers),
            encoder_strides=list(config.factors), encoder_transformer_depths=list(config.depths), latent_dim=config.latent_channels,
            use_differential_attention=config.differential, dim_heads=config.head_features, ff_mult=config.mlp, sliding_window=config.window,
            encoder_sinusoidal_blocks=list(config.encoder_sines), decoder_sinusoidal_blocks=list(config.decoder_sines), sampling_rate=config.sample_rate,
        )  # fmt: skip

    def set_precision(self, dtype: torch.dtype) -> None:
        """The dtype of the autoencoder; positions stay float32, which in bfloat16 are the same from the 256th on, and so do latents and audio."""
        super().set_precision(dtype)
        for module in self.vae.modules():
            if hasattr(module, "inv_freq"):
                module.float()

    def frames_bytes(self, num_frames: int) -> int:
        """Two dozen times a level's tokens, and the mask of its attention."""
        config, most = self.config, 0
        for level, (factor, multiplier) in enumerate(zip(config.factors, config.multipliers)):
            tokens = num_frames * math.prod(config.factors[level + 1 :]) * (factor + 1)
            most = max(most, tokens * (24 * multiplier * config.features + 2 * tokens))
        return most * self.dtype.itemsize

    def encode_window(self, audio: Tensor) -> Tensor:
        """Latents `(b, d, l)` of audio `(b, c, l * hop)`."""
        return self.vae.encode(audio.to(self.dtype)).latents.float()

    def decode_windows(self, windows: list[Tensor], firsts: list[int], seeds: list[int], steps: int, callback: Callback) -> list[Tensor]:
        """Audio `(b, c, l * hop)` of windows `(b, d, l)`; nothing is drawn, so places and seeds make no difference."""
        return list(self.vae.decode(torch.cat(windows).to(self.dtype)).sample.float().split(len(windows[0])))
