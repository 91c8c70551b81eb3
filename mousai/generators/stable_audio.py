"""Stable Audio Open as it was released (Evans et al., arXiv 2407.14358): its transformer, and what tells it of words and seconds.

Words and the seconds at which a clip begins and ends are tokens to attend to, the seconds are in the first token of the
sequence too. Padding is attended to, as zeros; "no condition" is zeros in the place of all tokens. It always makes the whole of
its frames, of which a shorter clip is the beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mousai.checks import extra
from mousai.diffusion.guidance import OFF, guided
from mousai.diffusion.process import PROCESSES
from mousai.diffusion.samplers import SAMPLERS
from mousai.diffusion.sampling import sample_latents
from mousai.diffusion.stochastic import OwnSampler, dpmpp_2m_sde, even_in_log_level
from mousai.generators.seconds import NAME as SECONDS
from mousai.networks.stable_audio import StableAudioDiT, StableAudioDiTConfig
from mousai.types import Condition, ConditionShape, RowPredict, SamplingSettings

LEVELS = (500.0, 0.3)  # sigma / alpha of the released scheduler
OWN = SamplingSettings(steps=100, guidance=7.0, sampler="dpmpp_2m_sde").over(OFF)


@dataclass(frozen=True)
class ProjectionConfig:
    """What is made of words and seconds, as diffusers' `StableAudioProjectionModel`."""

    text_features: int = 768
    features: int = 768  # of a token
    shortest: float = 0.0  # seconds, beyond which numbers are brought back
    longest: float = 512.0


@dataclass(frozen=True)
class StableAudioConfig:
    transformer: StableAudioDiTConfig = StableAudioDiTConfig()
    projection: ProjectionConfig = ProjectionConfig()
    hop: int = 2048  # samples of a latent frame, as the codec's
    sample_rate: int = 44100
    max_tokens: int = 128  # that words are filled up to with zeros
    drop: float = 0.1  # probability of "no condition" in training
    sample: SamplingSettings = OWN

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample", self.sample.over(OWN))
        shape, features = self.transformer, self.projection.features
        if shape.embedding_features != features or shape.global_features != 2 * features:
            raise ValueError(f"transformer: expected {features} features of tokens and twice that of the first, as the projection's, came {shape.embedding_features} and {shape.global_features}")
        if self.max_tokens < 1 or not 0 <= self.drop < 1 or min(self.hop, self.sample_rate) < 1:
            raise ValueError(f"expected max_tokens, hop and sample_rate of 1 or more and 0 <= drop < 1, came {self}")


class StableAudio(nn.Module):
    process, samplers = PROCESSES["v"], ("dpmpp_2m_sde", *SAMPLERS)
    own_samplers = {"dpmpp_2m_sde": OwnSampler(even_in_log_level(*LEVELS), dpmpp_2m_sde)}
    frame_multiple = 1

    def __init__(self, config: StableAudioConfig) -> None:
        super().__init__()
        pipeline = extra("diffusers", "Stable Audio", module="diffusers.pipelines.stable_audio.modeling_stable_audio")
        self.config, self.latent_channels, self.sampling = config, config.transformer.in_channels, config.sample
        self.accepts = ConditionShape(tokens=config.projection.text_features, max_tokens=config.max_tokens, numbers=(SECONDS,))
        self.transformer = StableAudioDiT(config.transformer)
        said = config.projection
        self.projection = pipeline.StableAudioProjectionModel(said.text_features, said.features, said.shortest, said.longest)

    @property
    def network(self) -> StableAudioDiT:
        """What does nearly all of the work."""
        return self.transformer

    @property
    def dtype(self) -> torch.dtype:
        return self.transformer.dtype

    @property
    def device(self) -> torch.device:
        return self.projection.device

    @property
    def longest(self) -> float:
        """Seconds of all of its frames."""
        return self.config.transformer.frames * self.frame_seconds

    @property
    def frame_seconds(self) -> float:
        return self.config.hop / self.config.sample_rate

    def set_precision(self, dtype: torch.dtype) -> None:
        """The dtype of the transformer; what tells it of seconds stays float32."""
        self.transformer.to(dtype)

    def compile(self) -> None:
        """`torch.compile` for the transformer."""
        self.transformer.compile()

    def frames_for(self, num_frames: int) -> int:
        """How many frames are made for a clip of so many; ValueError for one that is too long."""
        if num_frames > self.config.transformer.frames:
            raise ValueError(f"seconds: this model makes at most {self.longest:.2f} s, came {num_frames * self.frame_seconds:.2f} s")
        return self.config.transformer.frames

    def loss(self, latents: Tensor, condition: Condition, generator: torch.Generator, frames: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error of v for latents `(b, d, l)`, of which `frames (b,)` are real: they are what is said of seconds."""
        b, _, length = latents.shape
        real = torch.full((b,), length) if frames is None else frames.cpu()
        t = torch.rand(b, generator=generator).to(latents.device)
        noise = torch.randn(latents.shape, generator=generator).to(latents)
        dropped = (torch.rand(b, generator=generator) < self.config.drop).to(latents.device)
        said = replace(condition, numbers={SECONDS: real * self.frame_seconds})
        told = self.told(replace(said, mask=said.mask.to(dropped.device) & ~dropped[:, None]))
        predicted = self.transformer(self.process.add_noise(latents, noise, t), t, **told)
        error = (predicted.float() - self.process.target(latents, noise, t)).square().mean(1)
        counts = (torch.arange(length) < real[:, None]).to(error)
        loss = (error * counts).sum() / counts.sum()
        return loss, {"diffusion": loss.detach()}

    def sample(
        self, condition: Condition, num_frames: int, *, negative: Condition | None = None, init: Tensor | None = None, keep: Tensor | None = None, **how: object
    ) -> Tensor:
        """Latents `(b, d, num_frames)` for a condition of b items: see `types.Generator`. Where no seconds are said they are those of `num_frames`."""
        more = self.frames_for(num_frames) - num_frames
        said = {SECONDS: torch.full((len(condition),), num_frames * self.frame_seconds)} | condition.numbers
        condition = replace(condition, numbers=said)
        negative = without_words(condition) if negative is None else replace(negative, numbers=said)
        init, keep = (part if part is None else F.pad(part, (0, more)) for part in (init, keep))
        return sample_latents(self, condition, num_frames + more, negative=negative, init=init, keep=keep, device=self.device, **how)[..., :num_frames]

    def predictor(self, conditions: Sequence[Condition | None], settings: SamplingSettings, times: Tensor) -> RowPredict:
        """The prediction under guidance for rows of any condition and time: see `types.Generator`."""
        said = next(each for each in conditions if each is not None)
        told = [self.told(without_words(said) if each is None else each) for each in conditions]
        cache = self.transformer.cache(times[:-1], **{name: torch.cat([each[name] for each in told]) for name in told[0]})
        return guided(self.process, lambda x, t, which, first: self.transformer(x, t, cache=cache[which.to(self.device)]), settings.over(self.sampling))

    def told(self, condition: Condition) -> dict[str, Tensor]:
        """What the transformer is told: tokens `(b, max_tokens + 2, e)`, of an item without any word zeros, and the first token's vector `(b, 2 e)`."""
        condition, seconds = self.fitted(condition)
        with torch.autocast(self.device.type, enabled=False):
            of = self.projection(condition.tokens, torch.zeros_like(seconds), seconds)
        start, end = of.seconds_start_hidden_states, of.seconds_end_hidden_states
        tokens = torch.cat([of.text_hidden_states * condition.mask[..., None], start, end], dim=1) * condition.mask.any(1)[:, None, None]
        return {"tokens": tokens, "vector": torch.cat([start, end], dim=2)[:, 0]}

    def fitted(self, condition: Condition) -> tuple[Condition, Tensor]:
        """The condition on the model's device with exactly `max_tokens` tokens, and the seconds `(b,)`; where none are said the longest that it makes."""
        b, n, features = condition.tokens.shape
        if n > self.config.max_tokens or features != self.accepts.tokens:
            raise ValueError(f"expected condition tokens (b, at most {self.config.max_tokens}, {self.accepts.tokens}), came {tuple(condition.tokens.shape)}")
        seconds = condition.numbers.get(SECONDS)
        seconds = torch.full((b,), torch.nan) if seconds is None else seconds.float()
        more = self.config.max_tokens - n
        tokens, mask = F.pad(condition.tokens.float(), (0, 0, 0, more)), F.pad(condition.mask, (0, more))
        return replace(condition, tokens=tokens, mask=mask).to(self.device), seconds.nan_to_num(self.longest).to(self.device)


def without_words(condition: Condition) -> Condition:
    """The condition with no token that is real: what "no condition" is told as, with the same seconds."""
    return replace(condition, mask=torch.zeros_like(condition.mask))
