"""Stable Audio 3 as it was released (arXiv 2605.17991): a flow in any length, told words and how long the clip is to be.

Words and seconds are tokens to attend to, the seconds are heard in every block too. "No condition" is the empty text.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mousai.checks import extra
from mousai.diffusion.process import PROCESSES
from mousai.diffusion.samplers import SAMPLERS, euler
from mousai.diffusion.stochastic import OwnSampler, even_in_log_snr, pingpong
from mousai.generators.seconds import NAME as SECONDS
from mousai.generators.stable_audio import StableAudio
from mousai.networks.stable_audio3 import StableAudio3DiT, StableAudio3DiTConfig
from mousai.types import Condition, ConditionShape, SamplingSettings

LOG_SNR = (-6.2, 2.0)  # of the pipeline's schedule
DISTILLED, BASE = SamplingSettings(steps=8, guidance=1.0, sampler="pingpong"), SamplingSettings(steps=100, guidance=1.0, sampler="euler")


@dataclass(frozen=True)
class DurationConfig:
    """What is made of seconds, as diffusers' `StableAudio3DurationEmbedder`."""

    features: int = 768
    fourier: int = 256
    shortest: float = 0.0  # seconds, beyond which numbers are brought back
    longest: float = 384.0
    slowest: float = 0.5
    fastest: float = 10000.0


@dataclass(frozen=True)
class StableAudio3Config:
    transformer: StableAudio3DiTConfig = StableAudio3DiTConfig()
    duration: DurationConfig = DurationConfig()
    hop: int = 4096  # samples of a latent frame, as the codec's
    sample_rate: int = 44100
    max_tokens: int = 256  # that words are filled up to
    drop: float = 0.1  # probability of no words in training
    distilled: bool = True  # it was made to be sampled in 8 steps of its own
    sample: SamplingSettings = SamplingSettings()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample", self.sample.over(DISTILLED if self.distilled else BASE))
        shape, features = self.transformer, self.duration.features
        if shape.embedding_features != features or shape.global_features != features:
            raise ValueError(f"transformer: expected {features} features of tokens and vector, as the duration's, came {shape.embedding_features} and {shape.global_features}")
        if self.max_tokens < 1 or not 0 <= self.drop < 1 or min(self.hop, self.sample_rate) < 1:
            raise ValueError(f"expected max_tokens, hop and sample_rate of 1 or more and 0 <= drop < 1, came {self}")


class StableAudio3(StableAudio):
    process, samplers = PROCESSES["flow"], ("pingpong", *SAMPLERS)
    own_samplers = {
        "pingpong": OwnSampler(even_in_log_snr(*LOG_SNR), pingpong),
        "euler": OwnSampler(even_in_log_snr(*LOG_SNR), lambda *what, generators, callback: euler(*what, callback=callback)),
    }
    no_condition = ""  # the text that guidance leads away from

    def __init__(self, config: StableAudio3Config) -> None:
        nn.Module.__init__(self)
        pipeline = extra("diffusers", "Stable Audio 3", module="diffusers.pipelines.stable_audio_3.modeling_stable_audio_3")
        self.config, self.latent_channels, self.sampling = config, config.transformer.in_channels, config.sample
        self.accepts = ConditionShape(tokens=config.transformer.embedding_features, max_tokens=config.max_tokens, numbers=(SECONDS,))
        self.transformer = StableAudio3DiT(config.transformer)
        said = config.duration
        self.duration = pipeline.StableAudio3DurationEmbedder(said.features, said.fourier, said.shortest, said.longest, said.slowest, said.fastest)

    @property
    def device(self) -> torch.device:
        return self.duration.device

    @property
    def longest(self) -> float:
        """Seconds that can be said."""
        return self.config.duration.longest

    def frames_for(self, num_frames: int) -> int:
        """As many; ValueError for more than can be said."""
        if num_frames * self.frame_seconds > self.longest + self.frame_seconds:
            raise ValueError(f"seconds: this model makes at most {self.longest:.2f} s, came {num_frames * self.frame_seconds:.2f} s")
        return num_frames

    def told(self, condition: Condition) -> dict[str, Tensor]:
        """What the transformer is told: tokens `(b, max_tokens + 1, e)`, the last of the seconds, their mask, and the vector `(b, e)` of these."""
        condition, seconds = self.fitted(condition)
        with torch.autocast(self.device.type, enabled=False):
            vector = self.duration(seconds)
        mask = torch.cat([condition.mask, condition.mask.new_ones(len(seconds), 1)], dim=1)
        return {"tokens": torch.cat([condition.tokens, vector[:, None]], dim=1), "mask": mask, "vector": vector}
