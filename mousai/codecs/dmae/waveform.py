"""The paper's autoencoder: what is diffused is the waveform, through learned filters inside the network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from mousai.codecs.dmae.codec import DMAE, noise_like
from mousai.codecs.dmae.config import DecodeConfig, check_parts, inject_depth
from mousai.codecs.dmae.encoders import EncoderConfig
from mousai.networks.build import NetworkConfig
from mousai.networks.transforms import TransformConfig
from mousai.networks.unet1d import UNet1dConfig
from mousai.types import Callback


@dataclass(frozen=True)
class WaveformConfig:
    encoder: EncoderConfig
    unet: UNet1dConfig
    network: NetworkConfig = NetworkConfig()
    transform: TransformConfig = field(default_factory=TransformConfig)
    sample_rate: int = 48000
    channels: int = 2
    stereo: Literal["left_right", "mid_side"] = "left_right"  # what the encoder looks at
    latent_noise: float = 0.0  # standard deviation of noise on the latents in training; generators err by as much
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def __post_init__(self) -> None:
        if self.transform.type != "learned":
            raise ValueError(f"transform.type: expected learned, came {self.transform.type!r}; of MDCT coefficients is dmae_mdct")
        check_parts(self.channels, self.encoder, self.transform, self.unet, inject_frames=self.encoder.hop // self.transform.hop)
        injected = self.unet.inject_channels[inject_depth(self.unet)]
        if injected != self.encoder.out_channels:
            raise ValueError(f"unet.inject_channels: expected {self.encoder.out_channels} as the latents, came {self.unet.inject_channels}")


class WaveformDMAE(DMAE):
    config: WaveformConfig

    def __init__(self, config: WaveformConfig) -> None:  # recipes read the config's class here
        super().__init__(config)

    def loss(self, audio: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The v-objective for audio `(b, c, s)`, s a multiple of the transform's hop x total_factor.

        Noise and times come from `generator`, on the CPU.
        """
        latents = self.latents(audio)
        if self.config.latent_noise:
            latents = latents + self.config.latent_noise * noise_like(latents, generator)
        loss = self.squared_error(self.predict, audio, generator, inject={self.inject_depth: latents}).mean()
        return loss, {"diffusion": loss.detach()}

    def predict(self, x: Tensor, t: Tensor, **condition: object) -> Tensor:
        """v for audio `x (b, c, s)`."""
        return self.transform.synthesis(self.unet(self.transform.analysis(x), t, **condition))

    def decode_windows(self, windows: list[Tensor], firsts: list[int], seeds: list[int], steps: int, callback: Callback) -> list[Tensor]:
        """Audio `(b, c, l * hop)` of windows `(b, d, l)` whose first latent frames have these numbers in the piece."""
        latents = self.raw_latents(windows)
        noise = self.frame_noise(seeds, firsts, latents).unflatten(2, (self.hop, -1)).flatten(1, 2).transpose(1, 2)  # (b, c, l * hop)
        audio = self.denoise(self.predict, noise.contiguous(), self.times(steps), latents, callback)
        return list(audio[..., : windows[0].shape[-1] * self.hop].split(len(windows[0])))
