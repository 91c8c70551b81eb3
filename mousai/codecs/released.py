"""What codecs share that are autoencoders of diffusers: taken as they were released, and not trained here."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mousai.codecs.windowed import WindowedCodec


class ReleasedCodec(WindowedCodec):
    """A codec around `vae`, made by whoever inherits; its config has the numbers of `types.Codec`."""

    name: str  # in a recipe
    vae: nn.Module

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config
        self.sample_rate, self.channels = config.sample_rate, config.channels
        self.hop, self.latent_channels, self.default_steps = config.hop, config.latent_channels, 0
        self.stride_frames, self.context_frames = config.stride_frames, config.context_frames

    @property
    def dtype(self) -> torch.dtype:
        return self.vae.dtype

    def set_precision(self, dtype: torch.dtype) -> None:
        """The dtype of the autoencoder; latents and audio stay float32."""
        nn.Module.to(self.vae, dtype)  # diffusers' own has a warning for it

    def loss(self, audio: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """ValueError: there is nothing to train it by here."""
        raise ValueError(f"codec: {self.name} is taken as it was released and not trained here; name its folder as codec: {{path: …}} and train a generator over it")
