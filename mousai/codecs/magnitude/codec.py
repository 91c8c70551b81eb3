"""The magnitude codec: latents are a linear transform of log magnitudes, and the decoder diffuses magnitudes.

The diffusion magnitude autoencoder of Moûsai (arXiv 2301.11757, section 3.2) taken at its word. The encoder keeps what
an ear follows of a high-resolution spectrogram (features.py, components.py); the decoder samples the rest of it
(decoder.py) and then looks for phases (phases.py). At the defaults 4,096 samples of two channels become 128 numbers, 64x.

Any length goes in and exactly that length comes out, in overlapping windows on a fixed grid (chunks.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from mousai.codecs.magnitude.components import Components, feature_weights
from mousai.codecs.magnitude.config import MagnitudeConfig
from mousai.codecs.magnitude.decoder import Decoder
from mousai.codecs.magnitude.encoder import LearnedEncoder
from mousai.codecs.magnitude.features import Features
from mousai.codecs.magnitude.phases import anchored, audio_of
from mousai.codecs.windowed import WindowedCodec
from mousai.diffusion.process import V
from mousai.diffusion.samplers import sample
from mousai.diffusion.schedules import schedule
from mousai.networks.transforms import mid_side
from mousai.randomness import positional_noise
from mousai.types import Callback


class MagnitudeCodec(WindowedCodec):
    # What `encode` gives follows from these configs and weights alone: a latent cache outlives a decoder trained on.
    LATENT_PARTS = ("features", "components", "encoder", "sample_rate", "channels")
    INITIAL_ITEMS = 192  # crops that `initialise` wants: fewer tell the components from chance worse

    def __init__(self, config: MagnitudeConfig) -> None:
        super().__init__()
        self.config = config
        self.sample_rate, self.channels = config.sample_rate, config.channels
        self.hop, self.latent_channels = config.hop, config.components.count
        self.default_steps = config.decode.steps
        self.stride_frames, self.context_frames = config.decode.stride_frames, config.decode.context_frames
        self.features = Features(config.features, config.channels, config.sample_rate)
        self.components = Components(config.components, self.features.width)
        shape = (self.features.width, config.components.count, config.components.block)
        self.encoder = None if config.encoder is None else LearnedEncoder(config.encoder, *shape)
        self.decoder = Decoder(config)

    @property
    def dtype(self) -> torch.dtype:
        return self.decoder.unet.dtype

    @property
    def latent_strengths(self) -> Tensor:
        """How much of the features, as the components weigh them, one standard deviation of each latent channel moves, `(d,)`."""
        weights = feature_weights(self.config.components, self.config.features, self.channels, self.sample_rate)
        synthesis = self.components.synthesis
        strengths = (weights.to(synthesis) @ synthesis).flatten(1).norm(dim=1)
        return strengths if self.encoder is None else strengths * self.encoder.latent_std[:, 0]

    def set_precision(self, dtype: torch.dtype) -> None:
        """The dtype of the U-Net, which does most of the work; spectra stay float32."""
        self.decoder.unet.to(dtype)

    def compile(self) -> None:
        """`torch.compile` for what decodes: the U-Net and the reader."""
        self.decoder.unet.compile(dynamic=True)
        self.decoder.reader.compile(dynamic=True)

    # -- training --------------------------------------------------------------------------------------------------

    def loss(self, audio: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The v-objective and the reader's error for audio `(b, c, s)`, of which each item gives a random part.

        Places, noise and times come from `generator`, on the CPU.
        """
        block, decoder = self.config.components.block, self.decoder
        true = self.features(self._parts(audio, generator))
        latents = self.latents(true)
        level = self.config.latent_noise * torch.rand(len(audio), generator=generator).to(audio.device)
        latents = latents + level[:, None, None] * _noise(latents, generator)
        linear = self.linear(latents)
        correction, frames = decoder.reader(latents, level)
        true, linear, correction, frames = (x[..., block:-block] for x in (true, linear, correction, frames))

        fixed = linear.detach()  # a learned encoder is to tell more, not to choose what is asked
        data, condition, weights = decoder.residual(true, fixed), decoder.condition(linear), decoder.weights(fixed)
        t = ((torch.arange(len(audio)) + torch.rand(len(audio), generator=generator)) / len(audio)).to(audio.device)
        noise = _noise(data, generator)
        v = decoder.unet(_last(V.add_noise(data, noise, t)), t, _last(condition), frames)
        logs = {"diffusion": (weights * (v.float() - V.target(data, noise, t)).square()).mean()}
        error = (decoder.rest(true) - decoder.rest(linear) - correction.float()).abs()
        logs["rest"] = (decoder.rest_weights * error).mean()
        total = logs["diffusion"] + self.config.reader.weight * logs["rest"]
        return total, {name: value.detach() for name, value in logs.items()}

    def _parts(self, audio: Tensor, generator: torch.Generator) -> Tensor:
        """`train_frames` latent frames of each item, from anywhere in it."""
        length = self.config.train_frames * self.hop
        if audio.shape[2] < length:
            raise ValueError(f"data.crop_samples: expected at least {length} samples, train_frames of them, came {audio.shape[2]}")
        starts = (torch.rand(len(audio), generator=generator) * (audio.shape[2] - length + 1)).long().tolist()
        return torch.stack([item[:, start : start + length] for item, start in zip(audio, starts, strict=True)])

    @torch.no_grad()
    def initialise(self, batches: Iterable[Tensor]) -> None:
        """Fit the components, and the statistics that the decoder starts from, to audio `(b, c, s)`, once."""
        block = self.config.components.block
        found = []
        for audio in batches:
            whole = audio[..., : audio.shape[2] // self.hop * self.hop]
            found.append(self.features(whole)[..., block:-block].cpu().half())  # the ends have seen silence
        weights = feature_weights(self.config.components, self.config.features, self.channels, self.sample_rate)
        device = self.components.mean.device
        self.components.fit((item.float().to(device) for item in found), weights.to(device))
        true = torch.cat(found[:: max(1, len(found) // 16)]).float().to(device)
        self.decoder.measure(true, self.components.decode(self.components.encode(true)))

    # -- use -------------------------------------------------------------------------------------------------------

    def frames_bytes(self, num_frames: int) -> int:
        """Those of the U-Net, and of 16 spectra of all channels, the search for phases having so many."""
        frames = num_frames * self.config.components.block
        return self.decoder.unet.row_bytes(frames) + 16 * self.channels * (self.config.features.n_fft // 2 + 1) * frames * 4

    def encode_window(self, audio: Tensor) -> Tensor:
        """Latents `(b, d, l)` for audio `(b, c, l * hop)`.

        Only the inner half of the context is crossfaded, and there both windows have seen all that their spectra reach.
        """
        return self.latents(self.features(audio)).to(audio.dtype)

    def latents(self, features: Tensor) -> Tensor:
        """Latents `(b, d, l)` of features `(b, f, l * block)`."""
        return self.components.encode(features) if self.encoder is None else self.encoder(features, self.components)

    def linear(self, latents: Tensor) -> Tensor:
        """The features that the components make of latents: what the decoder begins with."""
        return self.components.decode(latents if self.encoder is None else self.encoder.undone(latents))

    def decode_windows(self, windows: list[Tensor], firsts: list[int], seeds: list[int], steps: int, callback: Callback) -> list[Tensor]:
        """Audio `(b, c, l * hop)` of windows `(b, d, l)` whose first latent frames have these numbers in the piece."""
        b, latents = len(windows[0]), torch.cat(windows).float()
        length, block = latents.shape[-1], self.config.components.block
        padded = F.pad(latents, (0, -length % self.config.whole), mode="replicate")
        width = self.channels * self.decoder.single * block
        noise = torch.cat([positional_noise(seeds, first, first + padded.shape[-1], width) for first in firsts]).to(latents.device)
        noise = self.tempered(noise.unflatten(2, (self.channels, -1, block))).permute(0, 2, 3, 1, 4).flatten(3)  # (b, c, single, l block)
        features = self._sampled(padded, noise, schedule(self.config.decode.schedule, steps), callback)[..., : length * block]
        magnitude = self.features.ungrouped(self.features.slow(features))  # (b, c, bins, l block)
        phases = [self._phases(part, first, seeds) for part, first in zip(magnitude.split(b), firsts, strict=True)]
        levels = self.features.fast(features).flatten(0, 1)
        audio = audio_of(self.features, magnitude.flatten(0, 1), levels, torch.cat(phases), self.config.decode.griffin_lim)
        return list(mid_side(audio.unflatten(0, (-1, self.channels))).split(b))

    def tempered(self, noise: Tensor) -> Tensor:
        """Noise `(…, block)` at its temperatures: a sample's correlation with the truth suffers from what lasts, not from grain."""
        lasting = noise.mean(-1, keepdim=True)
        return self.config.decode.temperature * lasting + self.config.decode.grain_temperature * (noise - lasting)

    def _phases(self, log_magnitude: Tensor, first: int, seeds: list[int]) -> Tensor:
        """First phases `(b c, bins, l)` of a window whose first latent frame is number `first` of the piece.

        They are anchored where the windows' own frames begin, so that neighbours agree where they are crossfaded.
        """
        config, block, stride = self.config.features, self.config.components.block, self.config.decode.stride_frames
        stop = first + log_magnitude.shape[-1] // block
        places = range(-(-first // stride) * stride, stop, stride)
        width = self.channels * log_magnitude.shape[2]
        drawn = [positional_noise(seeds, place, place + 1, width).to(log_magnitude.device).view(-1, log_magnitude.shape[2]) for place in places]
        at = [(place - first) * block for place in places]
        return anchored(log_magnitude.flatten(0, 1), config.n_fft, config.hop, at, [2 * math.pi * noise for noise in drawn])

    def _sampled(self, latents: Tensor, noise: Tensor, times: Tensor, callback: Callback) -> Tensor:
        """Features `(b, f, l * block)` for latents `(b, d, l)`, with `noise (b, c, single, l * block)`."""
        decode, decoder = self.config.decode, self.decoder
        linear = self.linear(latents)
        correction, frames = decoder.reader(latents, latents.new_full((len(latents),), decode.assumed_noise))
        condition = _last(decoder.condition(linear))

        def predict(x: Tensor, t: Tensor) -> Tensor:
            return decoder.unet(_last(x), t.expand(len(x)).to(x.device), condition, frames)

        x = sample(decode.sampler, V, predict, noise, times, callback=callback)
        return decoder.with_residual(x, linear, correction)


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like.device, like.dtype)


def _last(x: Tensor) -> Tensor:
    """`x` with its channels last in memory, where convolutions on a CPU are quickest."""
    return x.contiguous(memory_format=torch.channels_last)
