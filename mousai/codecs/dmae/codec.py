"""The diffusion magnitude autoencoder of Moûsai (arXiv 2301.11757, section 3.2).

An encoder compresses the STFT magnitude to latents; the decoder is a v-objective diffusion model whose 1D U-Net has
the latents injected. What is diffused depends on the transform:

- `learned` (the paper): the waveform, through learned filters inside the network;
- `mdct`: MDCT coefficients, each divided by the scale that an envelope prior reads from the latents (prior.py), and
  compressed, since music's attacks lie far outside of any normal distribution.

Any length goes in and exactly that length comes out, in overlapping windows on a fixed grid (chunks.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mousai.audio.spectral import mel_density
from mousai.codecs.chunks import first_frame, overlapped, whole_frames
from mousai.codecs.dmae.config import DMAEConfig
from mousai.codecs.dmae.encoders import LOG_MEAN, LOG_STD, Encoder
from mousai.codecs.dmae.griffin_lim import consistent
from mousai.codecs.dmae.prior import NOISE_LOG_MEAN, EnvelopePrior, principal_components
from mousai.diffusion.process import add_noise, v_target
from mousai.diffusion.samplers import Callback, sample
from mousai.diffusion.schedules import schedule
from mousai.networks.transforms import build_transform, mid_side
from mousai.networks.unet1d import UNet1d
from mousai.randomness import positional_noise

LARGEST = 3.5  # asinh of the largest coefficient / scale that is decoded, 24 dB; beyond lie a small decoder's slips
MINIMUM_FRAMES = 4  # latent frames the encoder is given at least; shorter audio is followed by silence


class DMAE(nn.Module):
    # What `encode` gives follows from these configs and weights alone: a latent cache outlives a decoder trained on.
    LATENT_PARTS = ("encoder", "latent_mean", "latent_std", "sample_rate", "channels", "stereo")

    def __init__(self, config: DMAEConfig) -> None:
        super().__init__()
        self.config = config
        self.sample_rate, self.channels = config.sample_rate, config.channels
        self.hop, self.latent_channels = config.encoder.hop, config.encoder.out_channels
        self.default_steps = config.decode.steps
        self.stride_frames, self.context_frames = config.decode.stride_frames, config.decode.context_frames
        self.ratio = self.hop // config.transform.hop  # network frames a latent frame
        self.encoder = Encoder(config.encoder)
        self.transform = build_transform(config.transform, config.channels)
        self.unet = UNet1d(config.unet)
        self.prior = None
        if config.prior is not None:
            self.prior = EnvelopePrior(config.prior, self.latent_channels, self.transform.features, self.ratio)
            injected = config.unet.inject_channels[config.inject_depth]
            self.injection = nn.Conv1d(config.prior.channels, config.band_groups * injected, 1)
            weights = mel_density(config.transform.bands, config.sample_rate) if config.band_weights == "mel" else torch.ones(1)
            weights = weights.expand(config.transform.bands).repeat(config.channels)[:, None]
            self.register_buffer("loss_weights", weights, persistent=False)  # (features, 1), of mean 1
        # Latents as they leave have zero mean and unit variance over the training data: see `calibrate`.
        self.register_buffer("latent_mean", torch.zeros(self.latent_channels, 1))
        self.register_buffer("latent_std", torch.ones(self.latent_channels, 1))

        expected = 1 if config.prior else self.ratio
        if config.prior is None and config.unet.inject_channels[config.inject_depth] != self.latent_channels:
            raise ValueError(f"unet.inject_channels: expected {self.latent_channels} as the latents, came {config.unet.inject_channels}")
        if self.unet.total_factor % self.ratio and self.ratio % self.unet.total_factor:
            raise ValueError(f"unet.factors: their product {self.unet.total_factor} and the {self.ratio} frames a latent do not divide")
        if self.unet.depth_factor(config.inject_depth) != expected:
            raise ValueError(f"unet.inject_channels: expected them at the depth that has a frame for every {expected} of the first")

    @property
    def dtype(self) -> torch.dtype:
        return self.unet.dtype

    def set_precision(self, dtype: torch.dtype) -> None:
        """The dtype of the U-Net, which does nearly all of the work."""
        self.unet.to(dtype)

    # -- training --------------------------------------------------------------------------------------------------

    def loss(self, audio: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The v-objective (and the prior's distance) for audio `(b, c, s)`, s a multiple of hop x total_factor.

        Noise and times come from `generator`, on the CPU.
        """
        if self.prior is not None and not self.prior.initialised:
            self.initialise([audio])
        spectrum = self.encoder.spectrum(self._looked_at(audio))
        raw = self.encoder.compressed(spectrum).to(audio.dtype)
        if self.config.latent_noise:
            raw = raw + self.config.latent_noise * _noise(raw, generator)
        logs = {}
        if self.prior is None:
            data, inject, distance = audio, raw, 0.0
        else:
            log_scale, inject = self._told(raw)
            error = (log_scale - self._log_scale_target(spectrum)).abs()
            distance = logs["prior"] = (self.loss_weights * error).mean()
            data = self._compress(self.transform.analysis(audio.float())[..., :-1], log_scale.detach())
        t = torch.rand(len(audio), generator=generator).to(audio.device)
        noise = _noise(data, generator)
        predicted = self._network(add_noise(data, noise, t), t, inject={self.config.inject_depth: inject})
        error = (predicted.float() - v_target(data, noise, t)).square()
        logs["diffusion"] = (error if self.prior is None else self.loss_weights * error).mean()
        total = logs["diffusion"] + (self.config.prior.weight * distance if self.prior else 0.0)
        return total, {name: value.detach() for name, value in logs.items()}

    @torch.no_grad()
    def initialise(self, batches: Iterable[Tensor]) -> None:
        """Let the linear paths of encoder and prior begin as the principal components of the log spectra of `batches`.

        The rest of both begins at zero, so that training starts from the best linear codec of so many channels. Without
        it, the first batch of `loss` stands in. Only for a codec with a prior.
        """
        if self.prior is None:
            return
        audios = [audio.float() for audio in batches]
        spectrum = torch.cat([self.encoder.spectrum(self._looked_at(audio)) for audio in audios])
        found = principal_components(self._log_scale_target(spectrum), self.loss_weights, self.latent_channels, self.ratio)
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

    @torch.no_grad()
    def calibrate(self, batches: Iterable[Tensor]) -> None:
        """Store the mean and standard deviation of the latents of `batches`, audio `(b, c, s)` each."""
        raw = torch.cat([self.latents(audio).float().transpose(0, 1).flatten(1) for audio in batches], dim=1)  # (d, n)
        self.latent_mean.copy_(raw.mean(1, keepdim=True))
        self.latent_std.copy_(raw.std(1, keepdim=True).clamp(min=1e-3))

    def latents(self, audio: Tensor) -> Tensor:
        """Latents `(b, d, s / hop)` of audio as the encoder gives them, not standardised."""
        return self.encoder(self._looked_at(audio))

    def _looked_at(self, audio: Tensor) -> Tensor:
        return mid_side(audio) if self.config.stereo == "mid_side" else audio

    def _log_scale_target(self, spectrum: Tensor) -> Tensor:
        """The log scale of noise whose mean log magnitude in each band is that of the encoder's `spectrum`."""
        bins = self.config.encoder.bands // self.config.transform.bands
        return spectrum.float().unflatten(1, (-1, bins)).mean(2) * LOG_STD + LOG_MEAN - NOISE_LOG_MEAN

    def _compress(self, frames: Tensor, log_scale: Tensor) -> Tensor:
        """Coefficients over their scale, at unit variance: linear where small, logarithmic for what the prior missed."""
        return torch.asinh(frames * torch.exp(-log_scale)) / self.prior.spread

    def _expand(self, x: Tensor, log_scale: Tensor) -> Tensor:
        """The inverse of `_compress`, bounded at 24 dB above the scale."""
        return torch.sinh((x * self.prior.spread).clamp(-LARGEST, LARGEST)) * torch.exp(log_scale)

    def _start(self, noise: Tensor, log_scale: Tensor | None, t: Tensor) -> Tensor:
        """Where sampling starts: noise, or at `t` < 1 the prior's noise with consistent phases, and noise added."""
        if t == 1:
            return noise
        rough = self.transform.synthesis(F.pad(noise * torch.exp(log_scale), (0, 1)))
        smooth = consistent(rough, log_scale, self.config.decode.griffin_lim)
        data = self._compress(self.transform.analysis(smooth)[..., :-1], log_scale)
        return add_noise(data, noise, t)

    def _told(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """What the latents say: the log scale `(b, features, l)`, and what is injected for each group `(b * groups, d, l)`."""
        log_scale, hidden = self.prior(raw)
        return log_scale, self.injection(hidden).unflatten(1, (self.config.band_groups, -1)).flatten(0, 1)

    def _network(self, x: Tensor, t: Tensor, **condition: object) -> Tensor:
        if self.prior is not None:
            groups = self.config.band_groups
            grouped = x.unflatten(1, (self.channels, groups, -1)).transpose(1, 2).flatten(2, 3).flatten(0, 1)
            v = self.unet(grouped, t if t.ndim == 0 else t.repeat_interleave(groups), **condition)
            v = v.unflatten(0, (-1, groups)).unflatten(2, (self.channels, -1)).transpose(1, 2).flatten(1, 3)
            return v - x  # the U-Net hands its input on; v of unit-variance data begins at 0
        return self.transform.synthesis(self.unet(self.transform.analysis(x), t, **condition))

    # -- use -------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def encode(self, audio: Tensor, whole: bool = False) -> Tensor:
        """Latents `(b, d, ceil(s / hop))` of zero mean and unit variance for audio `(b, c, s)` of any length; `whole`: in one window."""
        if whole:
            return self._encode_window(torch.cat(list(whole_frames([audio], self.channels, self.hop)), dim=-1))
        return torch.cat(list(self.encode_stream([audio])), dim=-1)

    @torch.no_grad()
    def encode_stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """The latents of audio that comes in `pieces (b, c, any)`; the cuts make no difference."""
        blocks = whole_frames(pieces, self.channels, self.hop)

        def process(windows: list[Tensor], firsts: list[int]) -> list[Tensor]:
            return [self._encode_window(window) for window in windows]

        yield from overlapped(process, blocks, self.stride_frames, self.context_frames)

    def _encode_window(self, window: Tensor) -> Tensor:
        """The latents of whole frames of samples `(b, c * hop, l)`."""
        frames = window.shape[-1]
        audio = F.pad(window.unflatten(1, (self.channels, self.hop)).transpose(2, 3).flatten(2), (0, self._short(frames)))
        raw = self.latents(audio)[..., :frames]
        return (raw - self.latent_mean) / self.latent_std

    def _short(self, frames: int) -> int:
        """Samples of silence that bring `frames` latent frames to what the encoder takes."""
        least = max(MINIMUM_FRAMES, self.config.encoder.n_fft // 2 // self.hop + 1)
        return max(0, least - frames) * self.hop

    def decode(
        self,
        latents: Tensor,
        num_samples: int | None = None,
        *,
        seeds: list[int] | None = None,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Audio `(b, c, num_samples)` for latents `(b, d, l)` as `encode` gives them.

        `num_samples` is at most l x hop, and that where it is left away. Item i's noise comes from `seeds[i]` (default
        0, 1, …) and its place alone. `callback(done, total)` counts the sampling steps of all windows.
        """
        longest = latents.shape[-1] * self.hop
        num_samples = longest if num_samples is None else num_samples
        if not 0 < num_samples <= longest:
            raise ValueError(f"{latents.shape[-1]} latent frames decode to 1 … {longest} samples; asked for {num_samples}")
        pieces = self.decode_stream([latents], seeds=seeds, steps=steps, callback=callback, num_frames=latents.shape[-1])
        return torch.cat(list(pieces), dim=-1)[..., :num_samples]

    @torch.no_grad()
    def decode_stream(
        self,
        pieces: Iterable[Tensor],
        *,
        seeds: list[int] | None = None,
        steps: int | None = None,
        callback: Callback | None = None,
        num_frames: int | None = None,
        start: int = 0,
        batch: int = 1,
    ) -> Iterator[Tensor]:
        """The audio of latents that come in `pieces (b, d, any)`, hop samples a frame; the cuts make no difference.

        `num_frames`, where it is known, lets `callback` say of how many steps. With `start`, decoding goes on with the
        window of that number, see `resume`. `batch` windows are decoded at once.
        """
        decode = self.config.decode
        steps = decode.steps if steps is None else steps
        times = schedule(decode.schedule, steps, decode.start)
        total = steps * max(1, -(-((num_frames or 0) - decode.context_frames) // decode.stride_frames))
        done = 0

        def count(step: int, _: int) -> None:
            if callback:
                callback(done + step, max(total, done + steps))

        def process(windows: list[Tensor], firsts: list[int]) -> list[Tensor]:
            nonlocal done
            audio = {}
            for length in sorted({window.shape[-1] for window in windows}):
                alike = [index for index, window in enumerate(windows) if window.shape[-1] == length]
                found = self._decode_windows([windows[i] for i in alike], [firsts[i] for i in alike], seeds, times, count)
                audio |= dict(zip(alike, found))
                done += steps * len(alike)
            return [audio[index] for index in range(len(windows))]

        yield from overlapped(process, pieces, decode.stride_frames, decode.context_frames, ratio=self.hop, start=start, batch=batch)

    def resume(self, sample: int) -> tuple[int, int, int]:
        """Where `decode_stream` goes on for the audio from `sample` on: (`start`, first latent frame, first sample that comes)."""
        stride, context = self.config.decode.stride_frames, self.config.decode.context_frames
        early = context * self.hop // 2  # a window's audio begins with the fade, which lies before its own frames
        window = max(0, (sample // self.hop - context) // stride)  # one that there is: the last one may have `context` frames more
        return window, first_frame(max(0, window - 1), stride, context), max(0, window * stride * self.hop - early)

    def _decode_windows(
        self, windows: list[Tensor], firsts: list[int], seeds: list[int] | None, times: Tensor, callback: Callback
    ) -> list[Tensor]:
        """Audio `(b, c, l * hop)` of windows `(b, d, l)` whose first latent frames have these numbers in the piece."""
        b = len(windows[0])
        seeds, latents = seeds or list(range(b)), torch.cat(windows)
        length = latents.shape[-1]
        multiple = max(1, self.unet.total_factor // self.ratio)  # latent frames that the network can halve
        padded = F.pad(latents, (0, -(length + 1) % multiple + 1), mode="replicate")  # the MDCT needs one frame more
        raw = padded * self.latent_std + self.latent_mean
        raw = raw.clamp(-1, 1) if self.config.encoder.bottleneck == "tanh" else raw
        log_scale, inject = self._told(raw) if self.prior is not None else (None, raw)
        width = self.hop * self.channels
        noise = torch.cat([positional_noise(seeds, first, first + padded.shape[-1], width) for first in firsts]).to(latents.device)
        if self.prior is not None:  # (b, l, hop * c) -> (b, c * bands, l * ratio)
            noise = noise.unflatten(2, (self.ratio, -1)).flatten(1, 2).transpose(1, 2)
        else:  # (b, l, hop * c) -> (b, c, l * hop)
            noise = noise.unflatten(2, (self.hop, -1)).flatten(1, 2).transpose(1, 2)
        cache = self.unet.cache(times[:-1], inject={self.config.inject_depth: inject})
        x = sample(
            self.config.decode.sampler,
            lambda x, t: self._network(x, t, cache=cache),
            self._start(noise.contiguous(), log_scale, times[0]),
            times,
            callback=callback,
        )
        if self.prior is not None:
            x = self.transform.synthesis(F.pad(self._expand(x, log_scale), (0, 1)))
        return list(x[..., : length * self.hop].split(b))


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like.device, like.dtype)
