"""A generator that knows what it is to make: a part from outside mousai, without a network, that draws nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mousai.diffusion.guidance import guided
from mousai.diffusion.process import PROCESSES
from mousai.diffusion.sampling import sample_latents
from mousai.types import Condition, ConditionShape, RowPredict, SamplingSettings


@dataclass(frozen=True)
class KnownConfig:
    latent_channels: int = 32
    features: int = 16


class Known(nn.Module):
    """Each latent channel has one value, which follows from the words alone: v is predicted exactly."""

    process, samplers, frame_multiple, dtype = PROCESSES["v"], ("euler",), 4, torch.float32

    def __init__(self, config: KnownConfig) -> None:
        super().__init__()
        self.latent_channels, self.accepts = config.latent_channels, ConditionShape(vectors={"words": config.features})
        self.sampling = SamplingSettings()  # it has none
        self.values = nn.Parameter(torch.linspace(-1, 1, config.latent_channels * config.features).unflatten(0, (config.latent_channels, -1)))

    def set_precision(self, dtype: torch.dtype) -> None:
        pass

    def data(self, condition: Condition | None) -> Tensor:
        """The latents `(b, d, 1)` of a condition, 0 for none."""
        return torch.zeros(1, self.latent_channels, 1) if condition is None else (condition.vectors["words"] @ self.values.T)[:, :, None]

    def loss(self, latents: Tensor, condition: Condition, generator: torch.Generator, frames: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        return (self.data(condition) - latents.mean(-1, keepdim=True)).square().mean(), {}

    def sample(self, condition: Condition, num_frames: int, **how) -> Tensor:
        return sample_latents(self, condition, num_frames, **how)

    def predictor(self, conditions: Sequence[Condition | None], settings: SamplingSettings, times: Tensor) -> RowPredict:
        data = torch.cat([self.data(each) for each in conditions])

        def rows(x: Tensor, t: Tensor, which: Tensor, first: Sequence[int]) -> Tensor:
            alpha, sigma = (amplitude[:, None, None] for amplitude in self.process.path.alpha_sigma(t))
            noise = (x - alpha * data[which]) / sigma
            return self.process.target(data[which].expand_as(x), noise, t)

        return guided(self.process, rows, settings.over(self.sampling))
