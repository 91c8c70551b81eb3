"""An autoencoder for small budgets: what is diffused are MDCT coefficients, scaled by what the latents say of them.

Each coefficient is divided by the scale that an envelope prior reads from the latents (prior.py), and compressed, since
music's attacks lie far outside of any normal distribution.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mousai.audio.spectral import mel_density
from mousai.codecs.dmae.codec import DMAE, noise_like
from mousai.codecs.dmae.config import DecodeConfig, check_parts, inject_depth
from mousai.codecs.dmae.encoders import LOG_MEAN, LOG_STD, EncoderConfig
from mousai.codecs.dmae.griffin_lim import consistent
from mousai.codecs.dmae.prior import NOISE_LOG_MEAN, EnvelopePrior, PriorConfig, principal_components
from mousai.diffusion.process import V
from mousai.diffusion.schedules import schedule
from mousai.networks.build import NetworkConfig
from mousai.networks.transforms import TransformConfig
from mousai.networks.unet1d import UNet1dConfig
from mousai.types import Callback

LARGEST = 3.5  # asinh of the largest coefficient / scale that is decoded, 24 dB; beyond lie a small decoder's slips


@dataclass(frozen=True)
class MDCTDecodeConfig(DecodeConfig):
    griffin_lim: int = 0  # iterations that give the prior's noise consistent phases (griffin_lim.py); 0 = none
    start: float = 1.0  # time to sample from: 1 is noise, below it what griffin_lim made with noise added

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.griffin_lim < 0 or not 0 < self.start <= 1:
            raise ValueError(f"expected griffin_lim >= 0 and 0 < start <= 1, came {self}")
        if (self.start < 1) != (self.griffin_lim > 0):
            raise ValueError(f"start: below 1 it needs griffin_lim iterations, and they a start below 1; came {self}")


@dataclass(frozen=True, kw_only=True)
class MDCTConfig:
    encoder: EncoderConfig
    unet: UNet1dConfig
    network: NetworkConfig = NetworkConfig()
    transform: TransformConfig
    prior: PriorConfig
    sample_rate: int = 48000
    channels: int = 2
    stereo: Literal["left_right", "mid_side"] = "left_right"  # what the encoder looks at
    band_weights: Literal["flat", "mel"] = "flat"  # of the losses over MDCT bands; mel weighs them as the mel scale does
    band_groups: int = 1  # MDCT bands are cut into so many groups of neighbours, which the U-Net takes one by one
    latent_noise: float = 0.0  # standard deviation of noise on the latents in training; generators err by as much
    decode: MDCTDecodeConfig = field(default_factory=MDCTDecodeConfig)

    def __post_init__(self) -> None:
        encoder, bands = self.encoder, self.transform.bands
        if self.transform.type != "mdct":
            raise ValueError(f"transform.type: expected mdct, to which the prior belongs, came {self.transform.type!r}")
        if encoder.linear == "none" or encoder.spectrum != "log_magnitude" or encoder.bands % bands:
            raise ValueError(f"prior: needs encoder.linear, log_magnitude and a multiple of {bands} bins, came {encoder}")
        if encoder.hop_length != self.transform.hop:
            raise ValueError(f"encoder.hop_length: expected {self.transform.hop} as the transform's, came {encoder.hop_length}")
        if self.band_groups < 1 or bands % self.band_groups:
            raise ValueError(f"band_groups: expected a divisor of the {bands} mdct bands, came {self.band_groups}")
        check_parts(self.channels, encoder, self.transform, self.unet, self.band_groups)


class MDCTDMAE(DMAE):
    config: MDCTConfig

    def __init__(self, config: MDCTConfig) -> None:
        super().__init__(config)
        self.prior = EnvelopePrior(config.prior, self.latent_channels, self.transform.features, self.ratio)
        injected = config.unet.inject_channels[inject_depth(config.unet)]
        self.injection = nn.Conv1d(config.prior.channels, config.band_groups * injected, 1)
        weights = mel_density(config.transform.bands, config.sample_rate) if config.band_weights == "mel" else torch.ones(1)
        weights = weights.expand(config.transform.bands).repeat(config.channels)[:, None]
        self.register_buffer("loss_weights", weights, persistent=False)  # (features, 1), of mean 1
        self.seen_initialised = False

    # -- training --------------------------------------------------------------------------------------------------

    def loss(self, audio: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The v-objective and the prior's distance for audio `(b, c, s)`, s a multiple of the transform's hop x total_factor.

        Noise and times come from `generator`, on the CPU.
        """
        self.check_initialised()
        spectrum = self.encoder.spectrum(self.looked_at(audio))
        latents = self.encoder.compressed(spectrum).to(audio.dtype)
        if self.config.latent_noise:
            latents = latents + self.config.latent_noise * noise_like(latents, generator)
        log_scale, inject = self.read(latents)
        distance = (self.loss_weights * (log_scale - self.target_log_scale(spectrum)).abs()).mean()
        data = self.compress(self.transform.analysis(audio.float())[..., :-1], log_scale.detach())
        error = self.squared_error(self.predict, data, generator, inject={self.inject_depth: inject})
        diffusion = (self.loss_weights * error).mean()
        total = diffusion + self.config.prior.weight * distance
        return total, {"prior": distance.detach(), "diffusion": diffusion.detach()}

    def check_initialised(self) -> None:
        """ValueError unless `initialise` was called, or weights of a codec that it was called for are here.

        Asked once: a GPU would be waited for in each step.
        """
        if self.seen_initialised or torch.compiler.is_compiling():
            return
        if not self.prior.initialised:
            raise ValueError("this codec begins from audio: call initialise(batches) before the first loss")
        self.seen_initialised = True

    @torch.no_grad()
    def initialise(self, batches: Iterable[Tensor]) -> None:
        """Let the linear paths of encoder and prior begin as the principal components of the log spectra of `batches`.

        The rest of both begins at zero, so that training starts from the best linear codec of so many channels.
        """
        audios = [audio.float() for audio in batches]
        spectrum = torch.cat([self.encoder.spectrum(self.looked_at(audio)) for audio in audios])
        found = principal_components(self.target_log_scale(spectrum), self.loss_weights, self.latent_channels, self.ratio)
        bins = self.config.encoder.bands // self.config.transform.bands  # of the encoder's spectrum a band
        self.encoder.linear.weight.copy_(found.analysis.repeat_interleave(bins, dim=1) * LOG_STD / bins)
        offset = LOG_MEAN - NOISE_LOG_MEAN - found.mean
        self.encoder.linear.bias.copy_((offset[:, None] * found.analysis).sum((1, 2)))
        self.prior.linear.weight.copy_(found.synthesis)
        self.prior.base.copy_(found.mean[:, None])
        log_scale = found.mean[:, None] + self.prior.linear(self.encoder.linear(spectrum))
        frames = torch.cat([self.transform.analysis(audio)[..., :-1] for audio in audios])
        self.prior.spread.copy_(torch.asinh(frames * torch.exp(-log_scale)).std((0, 2))[:, None].clamp(min=0.1))
        self.prior.initialised.fill_(True)

    def target_log_scale(self, spectrum: Tensor) -> Tensor:
        """The log scale of noise whose mean log magnitude in each band is that of the encoder's `spectrum`."""
        bins = self.config.encoder.bands // self.config.transform.bands
        return spectrum.float().unflatten(1, (-1, bins)).mean(2) * LOG_STD + LOG_MEAN - NOISE_LOG_MEAN

    # -- coefficients ----------------------------------------------------------------------------------------------

    def compress(self, frames: Tensor, log_scale: Tensor) -> Tensor:
        """Coefficients over their scale, at unit variance: linear where small, logarithmic for what the prior missed."""
        return torch.asinh(frames * torch.exp(-log_scale)) / self.prior.spread

    def expand(self, x: Tensor, log_scale: Tensor) -> Tensor:
        """The inverse of `compress`, bounded at 24 dB above the scale."""
        return torch.sinh((x * self.prior.spread).clamp(-LARGEST, LARGEST)) * torch.exp(log_scale)

    def read(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """What latents `(b, d, l)` say: the log scale `(b, features, l * ratio)`, and what is injected for each group `(b * groups, d, l * ratio)`."""
        log_scale, hidden = self.prior(latents)
        return log_scale, self.injection(hidden).unflatten(1, (self.config.band_groups, -1)).flatten(0, 1)

    def predict(self, x: Tensor, t: Tensor, **condition: object) -> Tensor:
        """v for compressed coefficients `x (b, features, l)`, group by group of neighbouring bands."""
        groups = self.config.band_groups
        grouped = x.unflatten(1, (self.channels, groups, -1)).transpose(1, 2).flatten(2, 3).flatten(0, 1)
        v = self.unet(grouped, t if t.ndim == 0 else t.repeat_interleave(groups), **condition)
        v = v.unflatten(0, (-1, groups)).unflatten(2, (self.channels, -1)).transpose(1, 2).flatten(1, 3)
        return v - x  # the U-Net hands its input on; v of unit-variance data begins at 0

    # -- decoding --------------------------------------------------------------------------------------------------

    def times(self, steps: int) -> Tensor:
        return schedule(self.config.decode.schedule, steps, self.config.decode.start)

    def start(self, noise: Tensor, log_scale: Tensor, t: Tensor) -> Tensor:
        """Where sampling starts: noise, or at `t` < 1 the prior's noise with consistent phases, and noise added."""
        if t == 1:
            return noise
        rough = self.transform.synthesis(F.pad(noise * torch.exp(log_scale), (0, 1)))
        smooth = consistent(rough, log_scale, self.config.decode.griffin_lim)
        data = self.compress(self.transform.analysis(smooth)[..., :-1], log_scale)
        return V.add_noise(data, noise, t)

    def decode_windows(self, windows: list[Tensor], firsts: list[int], seeds: list[int], steps: int, callback: Callback) -> list[Tensor]:
        """Audio `(b, c, l * hop)` of windows `(b, d, l)` whose first latent frames have these numbers in the piece."""
        latents, times = self.raw_latents(windows), self.times(steps)
        log_scale, inject = self.read(latents)
        noise = self.frame_noise(seeds, firsts, latents).unflatten(2, (self.ratio, -1)).flatten(1, 2).transpose(1, 2)  # (b, features, l * ratio)
        x = self.start(noise.contiguous(), log_scale, times[0])
        x = self.denoise(self.predict, x, times, inject, callback)
        audio = self.transform.synthesis(F.pad(self.expand(x, log_scale), (0, 1)))
        return list(audio[..., : windows[0].shape[-1] * self.hop].split(len(windows[0])))
