"""Text-conditioned latent diffusion: a 1D U-Net over a codec's latents (Moûsai, arXiv 2301.11757, section 3.3), or a transformer.

It is trained for one of the processes of diffusion/process.py, Moûsai's own being `v`.

The network attends to the condition's tokens, or hears them pooled; with `music` it is told tempo, bar, key and chords too
(generators/music.py), with `seconds` how long a clip is to be (generators/seconds.py), with `vector` a point of a joint
text–music space (generators/vector.py). With probability `drop` an item is trained on a learned "no condition" in the place of
all of it, for classifier-free guidance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mousai.diffusion.guidance import HELD, TEMPERS, guided
from mousai.diffusion.process import PROCESSES
from mousai.diffusion.samplers import SAMPLERS
from mousai.diffusion.sampling import PLAIN, sample_latents
from mousai.generators.music import CURVES, NUMBERS, Music, MusicConfig, channels, curve_of, numbers_of
from mousai.generators.seconds import NAME as SECONDS, Seconds, SecondsConfig
from mousai.generators.vector import Vector, VectorConfig
from mousai.networks.build import NetworkConfig, build_network
from mousai.networks.dit import DiT, DiTConfig
from mousai.networks.stable_audio import StableAudioDiT, StableAudioDiTConfig
from mousai.networks.unet1d import UNet1d, UNet1dConfig
from mousai.types import Callback, Codec, Condition, ConditionShape, RowPredict, SamplingSettings

if TYPE_CHECKING:
    from mousai.networks.unetv0 import UNetV0

OWN = replace(PLAIN, guidance=5.0)  # what a config does not say; of what tempers guidance, that of `HELD` where none of it is said
WINDOWS_KEPT = 256  # of which a sampling keeps what is told beside the latents


@dataclass(frozen=True)
class LatentDiffusionConfig:
    """One of `unet`, `dit` and `stable_audio` says the network's shape; its `in_channels` are the codec's latent channels."""

    unet: UNet1dConfig | None = None
    network: NetworkConfig = NetworkConfig()  # which U-Net
    dit: DiTConfig | None = None
    stable_audio: StableAudioDiTConfig | None = None
    music: MusicConfig | None = None  # null = tempo, bar, key and chords are not heard
    seconds: SecondsConfig | None = None  # null = how long a clip is to be is not heard
    vector: VectorConfig | None = None  # null = no vector is heard
    objective: Literal["v", "flow", "epsilon"] = "v"  # the process, see diffusion/process.py
    max_tokens: int = 64  # condition tokens, and length of the learned "no condition"
    drop: float = 0.1  # probability of "no condition" in training
    stratified: bool = False  # a batch's times are spread evenly over all of them, at random within their share
    emphasis: float = 0.0  # a latent channel's error counts as much as its strength, which the codec says, to this power; 0 = all count alike
    subtract_input: bool = False  # of objective v: v is the network's output less x_t: the U-Net hands x_t on, v of unit variance begins at 0
    sample: SamplingSettings = OWN  # how to sample when nothing else is asked for

    def __post_init__(self) -> None:
        tempered = any(name in TEMPERS for name in self.sample.said())
        object.__setattr__(self, "sample", self.sample.over(OWN if tempered else HELD.over(OWN)))
        if self.subtract_input and self.objective != "v":
            raise ValueError(f"subtract_input: belongs to objective v, came objective {self.objective}")
        if self.emphasis < 0:
            raise ValueError(f"emphasis: expected 0 or more, came {self.emphasis}")
        if self.max_tokens < 1 or not 0 <= self.drop < 1:
            raise ValueError(f"expected max_tokens >= 1 and 0 <= drop < 1, came {self.max_tokens} and {self.drop}")
        if sum(shape is not None for shape in (self.unet, self.dit, self.stable_audio)) != 1:
            raise ValueError("expected one of unet, dit and stable_audio, the network's shape")
        if self.shape.out_channels not in (0, self.shape.in_channels):
            raise ValueError(f"out_channels: expected as many as in_channels, {self.shape.in_channels}, came {self.shape.out_channels}")
        if self.dit is not None and not self.dit.embedding_features:
            raise ValueError("dit.embedding_features: a generator needs tokens to hear its condition, came 0")
        if self.unet is not None and not any(self.unet.cross_attentions):
            raise ValueError("unet.cross_attentions: a generator needs one at some depth to hear its condition")

    @property
    def shape(self) -> UNet1dConfig | DiTConfig | StableAudioDiTConfig:
        """The shape of the network, but for channels beside the latents'."""
        return self.unet or self.dit or self.stable_audio

    @property
    def everywhere(self) -> int:
        """Features of a vector that is heard in every block; 0 where the network hears tokens alone."""
        return self.dit.features if self.dit else self.stable_audio.global_features if self.stable_audio else 0


class LatentDiffusion(nn.Module):
    BEGIN_AS_NOTHING = (r"vector\..+", r"dit\.blocks\.\d+\.cross\..+")  # weights without which, as they are at first, all else does the same

    def __init__(self, config: LatentDiffusionConfig) -> None:
        super().__init__()
        self.config = config
        shape = config.shape
        self.latent_channels, self.accepts = shape.in_channels, ConditionShape(tokens=shape.embedding_features, max_tokens=config.max_tokens)
        if config.music is not None:
            self.accepts = replace(self.accepts, numbers=NUMBERS, curves=CURVES)
            shape = replace(shape, in_channels=shape.in_channels + config.music.channels, out_channels=shape.in_channels)
        if config.unet is not None:
            self.unet = build_network(config.network, shape)
        elif config.dit is not None:
            self.dit = DiT(shape)
        else:
            self.stable_audio = StableAudioDiT(shape)
        self.null = nn.Embedding(config.max_tokens, shape.embedding_features)
        heard = config.everywhere or shape.embedding_features
        self.music = None if config.music is None else Music(config.music, heard)
        self.seconds = None if config.seconds is None else Seconds(config.seconds, heard)
        if config.seconds is not None:
            self.accepts = replace(self.accepts, numbers=(*self.accepts.numbers, SECONDS))
        self.vector = None
        if config.vector is not None:
            attends = config.dit is None or config.dit.cross_attention
            self.vector = Vector(config.vector, shape.embedding_features if attends else 0, config.everywhere)
            self.accepts = replace(self.accepts, vectors={config.vector.name: config.vector.features}, tokens=0 if config.vector.alone else self.accepts.tokens)
        if config.music is not None and config.subtract_input and isinstance(self.network, UNet1d):
            self.unet.hand_on()

        self.register_buffer("channel_weights", torch.ones(self.latent_channels, 1), persistent=False)
        self.frame_multiple = self.network.total_factor
        self.sampling, self.samplers, self.process = config.sample, tuple(SAMPLERS), PROCESSES[config.objective]

    @property
    def network(self) -> UNet1d | UNetV0 | DiT | StableAudioDiT:
        """What does nearly all of the work."""
        return self.unet if self.config.unet else self.dit if self.config.dit else self.stable_audio

    @property
    def frame_seconds(self) -> float | None:
        """Seconds of a latent frame by which time is told; None if it is not."""
        told = self.config.music or self.config.seconds
        return None if told is None else told.hop / told.sample_rate

    @property
    def dtype(self) -> torch.dtype:
        return self.network.dtype

    def set_precision(self, dtype: torch.dtype) -> None:
        """The dtype of the network."""
        self.network.to(dtype)

    def compile(self) -> None:
        """`torch.compile` for the network."""
        self.network.compile()

    # -- training --------------------------------------------------------------------------------------------------

    def prepare(self, codec: Codec) -> None:
        """Weigh the latent channels of the loss as `emphasis` says, before training; ValueError if the codec has no `latent_strengths`."""
        if self.config.emphasis:
            strengths = getattr(codec, "latent_strengths", None)
            if strengths is None:
                raise ValueError(f"generator.emphasis: {type(codec).__name__} does not say how strong its latents are; expected 0, came {self.config.emphasis}")
            weights = strengths.float() ** self.config.emphasis
            self.channel_weights.copy_((weights / weights.mean())[:, None])

    def loss(
        self, latents: Tensor, condition: Condition, generator: torch.Generator, frames: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error of the prediction for latents `(b, d, l)`; beyond the first `frames (b,)` of an item lies padding, not counted.

        Times, noise and dropped conditions come from `generator`, on the CPU.
        """
        b, _, length = latents.shape
        data = F.pad(latents, (0, -length % self.frame_multiple))
        t = torch.rand(b, generator=generator)
        t = ((torch.arange(b) + t) / b if self.config.stratified else t).to(data.device)
        noise = torch.randn(data.shape, generator=generator).to(data)
        dropped = (torch.rand(b, generator=generator) < self.config.drop).to(data.device)
        fitted = self._fit(condition, data)
        tokens = torch.where(dropped[:, None, None], self._null(b).to(data), fitted.tokens)
        numbers = beside = vectors = None
        if self.music is not None:
            chords, beat = (curve_of(condition, name, 0, data.shape[-1], b) for name in CURVES)
            numbers, chords, beat = self.music.dropped(numbers_of(condition, b), chords, beat, dropped, generator)
            beside = channels(self.config.music, numbers, chords, beat, [0] * b)
        seconds = None
        if self.seconds is not None:
            real = torch.full((b,), length) if frames is None else frames
            seconds = self.seconds.dropped(self.seconds.of_frames(real), dropped, generator)
        mask = fitted.mask | dropped[:, None]
        if self.vector is not None:
            vectors, untold = self.vector.dropped(self.vector.of(condition, b), dropped, generator)
            untold = untold.to(data.device)[:, None]
            tokens, mask = torch.where(untold[..., None], self._null(b).to(data), tokens), mask | untold
        told = self._told(tokens, mask, numbers, seconds, vectors)
        predicted = self.predict(self.process.add_noise(data, noise, t), t, beside, **told)
        error = self.channel_weights * (predicted.float() - self.process.target(data, noise, t)).square()[..., :length]
        real = torch.full((b,), length, device=data.device) if frames is None else frames.to(data.device)
        weight = (torch.arange(length, device=data.device) < real[:, None])[:, None].to(error)  # (b, 1, l)
        loss = (error * weight).sum() / (weight.sum() * error.shape[1])
        return loss, {"diffusion": loss.detach()}

    # -- use -------------------------------------------------------------------------------------------------------

    def sample(
        self,
        condition: Condition,
        num_frames: int,
        *,
        seeds: list[int],
        negative: Condition | None = None,
        settings: SamplingSettings | None = None,
        init: Tensor | None = None,
        strength: float = 1.0,
        keep: Tensor | None = None,
        callback: Callback | None = None,
    ) -> Tensor:
        """Latents `(b, d, num_frames)` for a condition of b items: see `types.Generator`. Where it hears seconds, and none are said, it is told those of `num_frames`."""
        if self.seconds is not None:
            whole = self.seconds.of_frames(torch.tensor([num_frames]))
            condition, negative = (each if each is None else replace(each, numbers={SECONDS: whole.expand(len(each))} | each.numbers) for each in (condition, negative))
        return sample_latents(
            self, condition, num_frames, seeds=seeds, negative=negative, settings=settings, init=init, strength=strength,
            keep=keep, callback=callback, device=self.null.weight.device,
        )  # fmt: skip

    def predictor(self, conditions: Sequence[Condition | None], settings: SamplingSettings, times: Tensor) -> RowPredict:
        """The prediction under guidance for rows of any condition and time: see `types.Generator`."""
        like = self.null.weight
        null = Condition(self._null(1).to(like), torch.ones(1, self.config.max_tokens, dtype=torch.bool, device=like.device))
        fitted = [null if each is None else self._fit(each, like) for each in conditions]
        tokens, mask = torch.cat([each.tokens for each in fitted]), torch.cat([each.mask for each in fitted])
        numbers = None if self.music is None else torch.cat([numbers_of(each) for each in conditions])
        seconds = None if self.seconds is None else torch.cat([self.seconds.of(each) for each in conditions])
        vectors = None if self.vector is None else torch.cat([self.vector.of(each).to(like.device) for each in conditions])
        cache = self.network.cache(times[:-1], **self._told(tokens, mask, numbers, seconds, vectors))

        @lru_cache(maxsize=1)  # most steps ask for the rows of the step before
        def of_rows(which: tuple[int, ...]):
            if which == tuple(range(len(conditions))):
                return cache
            return cache[torch.tensor(which, device=like.device)]

        @lru_cache(maxsize=WINDOWS_KEPT)  # every step asks for the same
        def beside_row(row: int, first: int, count: int) -> Tensor:
            curves = (curve_of(conditions[row], name, first, count) for name in CURVES)
            return channels(self.config.music, numbers[row : row + 1], *curves, [first]).to(like.device)

        def predict(x: Tensor, t: Tensor, which: Tensor, first: Sequence[int]) -> Tensor:
            beside = None
            if numbers is not None:
                beside = torch.cat([beside_row(row, start, x.shape[-1]) for row, start in zip(which.tolist(), first, strict=True)])
            return self.predict(x, t, beside, cache=of_rows(tuple(which.tolist())))

        return guided(self.process, predict, settings.over(self.sampling))

    def predict(self, x: Tensor, t: Tensor, beside: Tensor | None = None, **condition: object) -> Tensor:
        prediction = self.network(x if beside is None else torch.cat([x, beside.to(x)], dim=1), t, **condition)
        return prediction - x if self.config.subtract_input else prediction

    def _told(
        self, tokens: Tensor, mask: Tensor, numbers: Tensor | None = None, seconds: Tensor | None = None, vectors: Tensor | None = None
    ) -> dict[str, Any]:
        """What the network is told: of numbers, seconds and vectors what every block hears or, a U-Net, tokens."""
        told = None if vectors is None else self.vector(vectors)
        heard = [self.music(numbers).to(tokens)] if numbers is not None else []
        heard += [self.seconds(seconds).to(tokens)] if seconds is not None else []
        heard += [told.everywhere.to(tokens)] if told and told.everywhere is not None else []
        if self.config.everywhere:
            silent = [tokens.new_zeros(len(tokens), self.config.everywhere)] if self.config.stable_audio else []
            if told and told.tokens is not None and self.config.stable_audio:
                tokens, mask = torch.cat([tokens, told.tokens.to(tokens)], dim=1), torch.cat([mask, told.mask.to(mask.device)], dim=1)
            more = {"more_tokens": (told.tokens, told.mask)} if told and told.tokens is not None and self.config.dit else {}
            return {"tokens": tokens, "mask": mask, **more} | ({"vector": sum(heard or silent)} if heard or silent else {})
        tokens, mask = torch.cat([tokens, *(each[:, None] for each in heard)], dim=1), F.pad(mask, (0, len(heard)), value=True)
        if told:
            tokens, mask = torch.cat([tokens, told.tokens.to(tokens)], dim=1), torch.cat([mask, told.mask.to(mask.device)], dim=1)
        return {"tokens": tokens, "mask": mask}

    def _null(self, b: int) -> Tensor:
        return self.null.weight.expand(b, -1, -1)

    def _fit(self, condition: Condition, like: Tensor) -> Condition:
        """The condition on `like`'s device with exactly `max_tokens` tokens, the added ones masked out; where no text is told those of "no condition"."""
        limit = self.config.max_tokens
        if condition.tokens is None or not self.accepts.tokens:
            condition = replace(condition, tokens=self._null(len(condition)), mask=torch.ones(len(condition), limit, dtype=torch.bool))
        b, n, features = condition.tokens.shape
        if n > limit or features != self.config.shape.embedding_features:
            expected = f"(b, at most {limit}, {self.config.shape.embedding_features})"
            raise ValueError(f"expected condition tokens {expected}, came {tuple(condition.tokens.shape)}")
        condition = condition.to(like.device, like.dtype)
        return replace(
            condition,
            tokens=F.pad(condition.tokens, (0, 0, 0, limit - n)),
            mask=F.pad(condition.mask, (0, limit - n)),
        )
