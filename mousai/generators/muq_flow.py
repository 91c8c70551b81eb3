"""Text to a vector of a joint text–music space, by flow matching on straight paths: one text has many musical answers.

MUSE's first stage (its vectors are MuQ-MuLan's), with either of the networks of networks/flow.py. A vector is a latent of one
frame, `(b, e, 1)`: processes, samplers, guidance and training are those of every generator. A unit vector's coordinates have a
standard deviation of 1 / sqrt(e) against the noise's 1, so that nearly all of a path is noise alone; `scaled` brings them to 1.
What is sampled has unit length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mousai.diffusion.adaptive import dopri5
from mousai.diffusion.guidance import OFF, guided
from mousai.diffusion.process import PROCESSES
from mousai.diffusion.sampling import predict_for, sample_latents
from mousai.networks.flow import NETWORKS, TextCache, VectorNetworkConfig
from mousai.randomness import randn, seeded_generators
from mousai.types import Callback, Condition, ConditionShape, RowPredict, SamplingSettings

OWN = SamplingSettings(steps=3, guidance=1.2, sampler="midpoint", schedule="linear").over(replace(OFF, hold=None, apg=None, apg_norm=None, rescale=None))
SOLVERS = ("euler", "midpoint", "heun", "dopri5")
ADAPTIVE = "dopri5"  # takes as many steps as it needs


@dataclass(frozen=True)
class VectorFlowConfig:
    features: int  # of a vector, as the joint encoder's
    embedding_features: int  # of a condition token
    max_tokens: int = 128
    network: VectorNetworkConfig = VectorNetworkConfig()
    scaled: bool = True  # vectors are multiplied by sqrt(features), so that their coordinates have variance 1
    stratified: bool = True  # a batch's times are spread evenly over all of them, at random within their share
    drop: float = 0.1  # probability of the learned token in the place of the text
    sample: SamplingSettings = OWN

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample", self.sample.over(OWN))
        if min(self.features, self.embedding_features, self.max_tokens) < 1 or not 0 <= self.drop < 1:
            raise ValueError(f"expected features, embedding_features and max_tokens of 1 or more and 0 <= drop < 1, came {self}")


class VectorFlow(nn.Module):
    frame_multiple, samplers = 1, SOLVERS

    def __init__(self, config: VectorFlowConfig) -> None:
        super().__init__()
        self.config, self.process, self.sampling = config, PROCESSES["flow"], config.sample
        self.latent_channels = config.features
        self.accepts = ConditionShape(tokens=config.embedding_features, max_tokens=config.max_tokens)
        self.network = NETWORKS[config.network.type](config.network, config.features, config.embedding_features)
        self.null = nn.Parameter(torch.randn(config.embedding_features))
        self.scale = math.sqrt(config.features) if config.scaled else 1.0

    @property
    def dtype(self) -> torch.dtype:
        return self.null.dtype

    def set_precision(self, dtype: torch.dtype) -> None:
        """The dtype of everything but the times."""
        super().to(dtype)

    def loss(self, latents: Tensor, condition: Condition, generator: torch.Generator, frames: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean squared error of the velocity for unit vectors `(b, e, 1)`; times, noise and, in training, dropped texts come from `generator`."""
        b = len(latents)
        data = self.scale * F.normalize(latents[..., 0], dim=-1)
        t = torch.rand(b, generator=generator)
        t = ((torch.arange(b) + t) / b if self.config.stratified else t).to(data.device)
        noise = torch.randn(data.shape, generator=generator).to(data)
        dropped = (torch.rand(b, generator=generator) < (self.config.drop if self.training else 0.0)).to(data.device)
        tokens, mask = self._fit(condition)
        tokens, mask = torch.where(dropped[:, None, None], self._null(tokens), tokens), torch.where(dropped[:, None], first_alone(mask), mask)
        predicted = self.network(self.process.add_noise(data, noise, t), t, self.network.cache(tokens, mask))
        loss = (predicted.float() - self.process.target(data, noise, t)).square().mean()
        return loss, {"flow": loss.detach()}

    def sample(
        self, condition: Condition, num_frames: int = 1, *, seeds: list[int], negative: Condition | None = None,
        settings: SamplingSettings | None = None, init: Tensor | None = None, strength: float = 1.0, keep: Tensor | None = None,
        callback: Callback | None = None,
    ) -> Tensor:  # fmt: skip
        """Unit vectors `(b, e, 1)` for a condition of b items: see `types.Generator`; one frame each."""
        if num_frames != 1 or keep is not None:
            raise ValueError(f"a vector is one frame, of which no part can be kept; came {num_frames} frames")
        settings = (settings or SamplingSettings()).over(self.sampling)
        start = None if init is None else self.scale * init
        how = {"negative": negative, "settings": settings, "callback": callback}
        if settings.sampler == ADAPTIVE:
            if init is not None:
                raise ValueError(f"{ADAPTIVE}: goes all the way from noise; take another sampler with init")
            found = self._adaptive(condition, seeds, **how)
        else:
            found = sample_latents(self, condition, 1, seeds=seeds, init=start, strength=strength, device=self.null.device, **how)
        return F.normalize(found.float(), dim=1)

    def _adaptive(self, condition: Condition, seeds: Sequence[int], negative: Condition | None, settings: SamplingSettings, callback: Callback | None) -> Tensor:
        """Item by item, for the solver's steps follow from all that it solves at once."""
        rows = []
        for index, generator in enumerate(seeded_generators(seeds)):
            noise = randn((self.latent_channels, 1), [generator], self.null.device)
            against = None if negative is None else negative[index : index + 1]
            predict = predict_for(self, condition[index : index + 1], against, settings, torch.tensor([1.0, 0.0]))
            rows.append(dopri5(self.process, predict, noise))
            if callback:
                callback(index + 1, len(seeds))
        return torch.cat(rows)

    def predictor(self, conditions: Sequence[Condition | None], settings: SamplingSettings, times: Tensor) -> RowPredict:
        """The prediction under guidance for rows of any condition and time: see `types.Generator`."""
        length = max((1 if each is None else each.tokens.shape[1] for each in conditions), default=1)
        pairs = [self._unsaid(length) if each is None else self._fit(each, length) for each in conditions]
        text = self.network.cache(torch.cat([tokens for tokens, _ in pairs]), torch.cat([mask for _, mask in pairs]))
        every = tuple(range(len(conditions)))

        def predict(x: Tensor, t: Tensor, which: Tensor, first: Sequence[int]) -> Tensor:
            rows: TextCache = text if tuple(which.tolist()) == every else text[which.to(x.device)]
            t = t.to(x.device, torch.float32).expand(len(x))
            return self.network(x[..., 0].to(self.dtype), t, rows)[..., None].to(x.dtype)

        return guided(self.process, predict, settings.over(self.sampling))

    def _fit(self, condition: Condition, length: int | None = None) -> tuple[Tensor, Tensor]:
        """Tokens and mask of a condition, on the network's device, with `length` tokens."""
        if condition.tokens is None or condition.tokens.shape[-1] != self.config.embedding_features or condition.tokens.shape[1] > self.config.max_tokens:
            came = None if condition.tokens is None else tuple(condition.tokens.shape)
            raise ValueError(f"expected condition tokens (b, at most {self.config.max_tokens}, {self.config.embedding_features}), came {came}")
        missing = max(0, (length or 0) - condition.tokens.shape[1])
        tokens = F.pad(condition.tokens, (0, 0, 0, missing)).to(self.null)
        return tokens, F.pad(condition.mask, (0, missing)).to(self.null.device)

    def _null(self, like: Tensor) -> Tensor:
        return self.null.expand_as(like)

    def _unsaid(self, length: int) -> tuple[Tensor, Tensor]:
        return self.null.expand(1, length, -1), first_alone(torch.ones(1, length, dtype=torch.bool, device=self.null.device))


def first_alone(mask: Tensor) -> Tensor:
    """A mask `(b, n)` of whose tokens the first alone is real."""
    return (torch.arange(mask.shape[1], device=mask.device) == 0).expand_as(mask)


def blind_floor(variances: Tensor) -> float:
    """The loss of the best network that hears no text, for data of a normal distribution with these variances along its axes, `(e,)`.

    Given x_t, noise - data has the variance s² / ((1 - t)² s² + t²) along an axis of variance s²; over t it is s pi / 2.
    """
    return float(variances.clamp(min=0).sqrt().mean() * math.pi / 2)
