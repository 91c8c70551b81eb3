"""The exponential moving average of the weights, by ema-pytorch: decay = min(beta, 1 - (1 + step)^-power).

Moûsai's is beta 0.995, power 0.7.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from ema_pytorch import EMA
from torch import nn


@dataclass(frozen=True)
class EmaConfig:
    beta: float = 0.995  # largest decay
    power: float = 0.7  # how fast the decay rises to it
    warmup_steps: int = 0  # the average is a plain copy before this step

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:
            raise ValueError(f"beta: expected 0 <= beta < 1, came {self.beta}")
        if not self.power > 0 or self.warmup_steps < 0:
            raise ValueError(f"power: expected above 0, came {self.power}; warmup_steps 0 or more, came {self.warmup_steps}")


def average_of(module: nn.Module, config: EmaConfig) -> EMA:
    """An average of `module`'s weights, to be updated after each step; buffers are copied, not averaged."""
    averaged = copy.deepcopy(module).requires_grad_(False).eval()
    return EMA(
        module, averaged, beta=config.beta, power=config.power, update_after_step=config.warmup_steps, update_every=1,
        param_or_buffer_names_no_ema={name for name, _ in module.named_buffers()}, include_online_model=False,
    )  # fmt: skip
