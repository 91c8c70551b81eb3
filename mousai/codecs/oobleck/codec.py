"""Stable Audio's autoencoder, Oobleck (Evans et al., arXiv 2407.14358, section 2.1), as diffusers has it, as a codec of the house.

It is convolutions alone, so that windows which overlap by what they see give what one window over everything gives: the
library's own tiling cuts its tiles to a fixed margin. Latents are the means of its posterior. It is taken as released, and not trained here.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from mousai.checks import extra
from mousai.codecs.oobleck.config import OobleckConfig
from mousai.codecs.released import ReleasedCodec
from mousai.types import Callback


class OobleckCodec(ReleasedCodec):
    name = "oobleck"

    def __init__(self, config: OobleckConfig) -> None:
        super().__init__(config)
        AutoencoderOobleck = extra("diffusers", "the codec oobleck", module="diffusers.models").AutoencoderOobleck
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of torch's older weight norm, which its weights are stored for
            self.vae = AutoencoderOobleck(
                encoder_hidden_size=config.features, downsampling_ratios=list(config.factors), channel_multiples=list(config.multipliers),
                decoder_channels=config.decoder_features, decoder_input_channels=config.latent_channels, audio_channels=config.channels,
                sampling_rate=config.sample_rate,
            )  # fmt: skip

    def compile(self) -> None:
        """`torch.compile` for the decoder."""
        self.vae.decoder.compile(dynamic=True)

    def frames_bytes(self, num_frames: int) -> int:
        """Eight times the samples of the decoder's last layer."""
        return 8 * num_frames * self.hop * self.config.decoder_features * self.dtype.itemsize

    def encode_window(self, audio: Tensor) -> Tensor:
        """The means `(b, d, l)` of the posterior of audio `(b, c, l * hop)`."""
        return self.vae.encoder(audio.to(self.dtype))[:, : self.latent_channels].float()

    def decode_windows(self, windows: list[Tensor], firsts: list[int], seeds: list[int], steps: int, callback: Callback) -> list[Tensor]:
        """Audio `(b, c, l * hop)` of windows `(b, d, l)`; nothing is drawn, so places and seeds make no difference."""
        return list(self.vae.decoder(torch.cat(windows).to(self.dtype)).float().split(len(windows[0])))
