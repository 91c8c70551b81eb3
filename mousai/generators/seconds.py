"""A generator told how long a clip is to be: the number `seconds` of a condition, NaN where it is not said."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mousai.types import Condition

NAME = "seconds"
RATES, SLOWEST, FASTEST = 32, math.pi, 512 * math.pi  # Fourier features of the part of the longest clip, in radians


@dataclass(frozen=True)
class SecondsConfig:
    hop: int  # samples of a latent frame, as the codec's
    sample_rate: int
    longest: float = 47.55  # seconds; of longer clips this is said
    drop: float = 0.1  # probability in training that they are not said

    def __post_init__(self) -> None:
        if min(self.hop, self.sample_rate) < 1 or not self.longest > 0 or not 0 <= self.drop < 1:
            raise ValueError(f"seconds: expected hop and sample_rate of 1 or more, longest above 0 and 0 <= drop < 1, came {self}")


class Seconds(nn.Module):
    """The learned part: seconds `(b,)` to a vector of `features`."""

    def __init__(self, config: SecondsConfig, features: int) -> None:
        super().__init__()
        self.config = config
        self.said, self.unsaid = nn.Linear(2 * RATES, features), nn.Parameter(torch.zeros(features))

    def forward(self, seconds: Tensor) -> Tensor:
        """The vectors `(b, features)`, on the module's device."""
        weight = self.said.weight
        seconds = seconds.to(weight.device, torch.float32)[:, None]
        rates = torch.exp(torch.linspace(math.log(SLOWEST), math.log(FASTEST), RATES, device=weight.device))
        angles = (seconds / self.config.longest).clamp(0, 1).nan_to_num(0.0) * rates
        return torch.where(seconds.isnan(), self.unsaid, self.said(torch.cat([angles.sin(), angles.cos()], dim=-1).to(weight.dtype)))

    def of(self, condition: Condition | None, b: int = 1) -> Tensor:
        """The seconds `(b,)` that a condition says; NaN for none."""
        found = None if condition is None else condition.numbers.get(NAME)
        return torch.full((b,), math.nan) if found is None else found.detach().to("cpu", torch.float32)

    def of_frames(self, frames: Tensor) -> Tensor:
        """The seconds of so many latent frames each."""
        return frames.cpu().float() * self.config.hop / self.config.sample_rate

    def dropped(self, seconds: Tensor, everything: Tensor, generator: torch.Generator) -> Tensor:
        """Those of training items, some not said: `everything` where that `(b,)` is true."""
        gone = torch.rand(len(seconds), generator=generator) < self.config.drop
        return seconds.masked_fill(gone | everything.cpu(), math.nan)
