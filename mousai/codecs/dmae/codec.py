"""The diffusion magnitude autoencoder of Moûsai (arXiv 2301.11757, section 3.2): what both of its kinds share.

An encoder compresses the STFT magnitude to latents; the decoder is a diffusion model of the v-objective whose U-Net, one of
networks/build.py, has the latents injected. The kinds differ in what is diffused: the waveform (waveform.py, the paper's) or scaled MDCT
coefficients (mdct.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from mousai.codecs.dmae.config import DecodeConfig, inject_depth
from mousai.codecs.dmae.encoders import Encoder, EncoderConfig
from mousai.codecs.windowed import WindowedCodec
from mousai.diffusion.process import V
from mousai.diffusion.samplers import sample
from mousai.diffusion.schedules import schedule
from mousai.networks.build import NetworkConfig, build_network
from mousai.networks.transforms import TransformConfig, build_transform, mid_side
from mousai.networks.unet1d import UNet1dConfig
from mousai.randomness import positional_noise
from mousai.types import Callback

MINIMUM_FRAMES = 4  # latent frames the encoder is given at least; shorter audio is followed by silence
Predict = Callable[..., Tensor]  # (x_t, t, **condition) -> v


class DMAEConfig(Protocol):
    """What the configs of both kinds have."""

    encoder: EncoderConfig
    unet: UNet1dConfig
    network: NetworkConfig
    transform: TransformConfig
    sample_rate: int
    channels: int
    stereo: Literal["left_right", "mid_side"]
    decode: DecodeConfig


class DMAE(WindowedCodec):
    """Encoder, transform, U-Net and standardised latents; a kind says what the U-Net denoises."""

    # What `encode` gives follows from these configs and weights alone: a latent cache outlives a decoder trained on.
    LATENT_PARTS = ("encoder", "latent_mean", "latent_std", "sample_rate", "channels", "stereo")

    def __init__(self, config: DMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.sample_rate, self.channels = config.sample_rate, config.channels
        self.hop, self.latent_channels = config.encoder.hop, config.encoder.out_channels
        self.default_steps = config.decode.steps
        self.stride_frames, self.context_frames = config.decode.stride_frames, config.decode.context_frames
        self.inject_depth = inject_depth(config.unet)
        self.ratio = self.hop // config.transform.hop  # network frames a latent frame
        self.encoder = Encoder(config.encoder)
        self.transform = build_transform(config.transform, config.channels)
        self.unet = build_network(config.network, config.unet)
        # Latents as they leave have zero mean and unit variance over the training data: see `calibrate`.
        self.register_buffer("latent_mean", torch.zeros(self.latent_channels, 1))
        self.register_buffer("latent_std", torch.ones(self.latent_channels, 1))

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    def set_precision(self, dtype: torch.dtype) -> None:
        """The dtype of the U-Net, which does nearly all of the work."""
        self.unet.to(dtype)

    def compile(self) -> None:
        """`torch.compile` for the U-Net."""
        self.unet.compile()

    # -- encoding --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Store the mean and standard deviation of the latents of `batches`, audio `(b, c, s)` each."""
        raw = torch.cat([self.latents(audio).float().transpose(0, 1).flatten(1) for audio in batches], dim=1)  # (d, n)
        self.latent_mean.copy_(raw.mean(1, keepdim=True))
        self.latent_std.copy_(raw.std(1, keepdim=True).clamp(min=1e-3))

    def latents(self, audio: Tensor) -> Tensor:
        """Latents `(b, d, s / hop)` of audio as the encoder gives them, not standardised."""
        return self.encoder(self.looked_at(audio))

    def looked_at(self, audio: Tensor) -> Tensor:
        """The channels that the encoder looks at: left and right, or their sum and difference."""
        return mid_side(audio) if self.config.stereo == "mid_side" else audio

    def encode_window(self, audio: Tensor) -> Tensor:
        """Latents `(b, d, l)` as they leave the codec, for audio `(b, c, l * hop)`."""
        frames = audio.shape[-1] // self.hop
        least = max(MINIMUM_FRAMES, self.config.encoder.n_fft // 2 // self.hop + 1)
        padded = F.pad(audio, (0, max(0, least - frames) * self.hop))
        return (self.latents(padded)[..., :frames] - self.latent_mean) / self.latent_std

    def frames_bytes(self, num_frames: int) -> int:
        """Those of the U-Net, and of what is denoised, beside it."""
        return self.unet.row_bytes(num_frames * self.ratio) + 6 * num_frames * self.hop * self.channels * 4

    # -- denoising -------------------------------------------------------------------------------------------------

    def squared_error(self, predict: Predict, data: Tensor, generator: torch.Generator, **condition: object) -> Tensor:
        """The squared distance of the predicted v from that of `data (b, d, l)`, at times and with noise from `generator`."""
        t = torch.rand(len(data), generator=generator).to(data.device)
        noise = noise_like(data, generator)
        predicted = predict(V.add_noise(data, noise, t), t, **condition)
        return (predicted.float() - V.target(data, noise, t)).square()

    def raw_latents(self, windows: list[Tensor]) -> Tensor:
        """Windows `(b, d, l)` as one batch, not standardised, padded to a length that the network can halve."""
        latents = torch.cat(windows)
        multiple = max(1, self.unet.total_factor // self.ratio)  # latent frames
        padded = F.pad(latents, (0, -(latents.shape[-1] + 1) % multiple + 1), mode="replicate")  # the MDCT needs one frame more
        raw = padded * self.latent_std + self.latent_mean
        return raw.clamp(-1, 1) if self.config.encoder.bottleneck == "tanh" else raw

    def frame_noise(self, seeds: list[int], firsts: list[int], like: Tensor) -> Tensor:
        """Noise `(b, l, c * hop)` for raw latents `(b, d, l)` of windows that begin with these latent frames."""
        stops = [first + like.shape[-1] for first in firsts]
        drawn = [positional_noise(seeds, first, stop, self.hop * self.channels) for first, stop in zip(firsts, stops)]
        return torch.cat(drawn).to(like.device)

    def times(self, steps: int) -> Tensor:
        """The schedule of decoding in so many steps."""
        return schedule(self.config.decode.schedule, steps)

    def denoise(self, predict: Predict, x: Tensor, times: Tensor, inject: Tensor, callback: Callback) -> Tensor:
        """Data from x at `times[0]`, with what the latents say injected."""
        cache = self.unet.cache(times[:-1], inject={self.inject_depth: inject})
        return sample(self.config.decode.sampler, V, lambda x, t: predict(x, t, cache=cache), x, times, callback=callback)


def noise_like(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal noise from `generator`, on the CPU, moved to where `like` is."""
    return torch.randn(like.shape, generator=generator).to(like.device, like.dtype)
