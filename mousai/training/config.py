"""How a model is trained. Optimizer settings are those of Moûsai (arXiv 2301.11757, section 4)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from mousai.training.ema import EmaConfig


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained; the defaults of the optimizer are the paper's."""

    steps: int  # optimizer steps in all
    start_from: str | None = None  # a model folder whose weights are the first ones; null = begin from chance
    freeze: tuple[str, ...] = ()  # beginnings of the names of weights that stay as they are, such as encoder
    batch_size: int = 8  # items a process sees in one forward pass
    accumulate: int = 1  # forward passes in one step
    lr: float = 1e-4
    betas: tuple[float, float] = (0.95, 0.999)
    eps: float = 1e-6
    weight_decay: float = 1e-3
    warmup_steps: int = 0  # the learning rate rises linearly over these
    final_lr: float = 1.0  # fraction of `lr` at the last step; 1 = constant
    decay_steps: int | None = None  # the cosine fall takes the last so many steps; null = all after the warm-up
    clip: float = 1.0  # largest norm of the gradient; 0 = no clipping
    zclip: float | None = None  # and so many standard deviations above the norms of the steps before (clipping.py); null = no such limit
    sigma_reparam: bool = False  # linear layers learn their spectral norm by itself (spectral.py); what is exported is plain
    precision: Literal["fp32", "bf16"] | None = None  # null = what the launcher says, else fp32
    compile: bool = False  # torch.compile
    shard: bool = False  # split weights, averages and optimizer over the processes (FSDP2); also set by an FSDP launch file
    ema: EmaConfig = EmaConfig()
    log_every: int = 10
    save_every: int = 1000
    valid_every: int = 1000  # 0 = never
    valid_batches: int = 4  # batches a process, always the same ones, with the same noise
    sample_every: int = 0  # 0 = never
    time_limit_minutes: float | None = None  # then the state is saved and the run ends
    minutes: float | None = None  # plan as many steps as fit, with export, and the schedule for them; null = `steps`
    trackers: tuple[str, ...] = ()  # names that Accelerate knows, such as tensorboard

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate", "log_every", "save_every", "valid_batches"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, came {getattr(self, name)}")
        for name in ("warmup_steps", "clip", "weight_decay", "valid_every", "sample_every", "final_lr"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: expected 0 or more, came {getattr(self, name)}")
        if not (0 < self.lr < math.inf and 0 < self.eps < math.inf):
            raise ValueError(f"lr and eps: expected above 0, came {self.lr} and {self.eps}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas: expected 0 <= beta < 1, came {self.betas}")
        if self.decay_steps is not None and self.decay_steps < 1:
            raise ValueError(f"decay_steps: expected at least 1 or null, came {self.decay_steps}")
        if self.sigma_reparam and self.shard:
            raise ValueError("sigma_reparam and shard: a matrix that is split over processes has no norm in any of them; set one of both to false")
        for name in ("time_limit_minutes", "minutes", "zclip"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name}: expected above 0 or null, came {value}")
