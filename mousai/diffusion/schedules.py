"""Sampling schedules: at which times a sampler stops on its way from noise to data.

A schedule is `(steps + 1,)` float32, strictly decreasing, from `t_start` to exactly 0. With u falling evenly from 1
to 0:

- `linear`: t = t_start u. What the paper and audio-diffusion-pytorch use.
- `cosine`: t = t_start sin^2(pi u / 2). Dense at both ends.
- `quadratic`: t = t_start u^2. Dense near the data (DDIM, arXiv 2010.02502, appendix D.2).
- `logsnr`: even in lambda = log(alpha / sigma) (DPM-Solver, arXiv 2206.00927, section 3.4).
- `karras`: even in (sigma / alpha)^(1/7) (EDM, arXiv 2206.00364, equation 5).

The last two are those of a process' path. They measure from t = 0.98 (or t_start) to 0.01 t_start, because lambda is
infinite at both ends; their first and last points are `t_start` and 0 all the same.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mousai.checks import check_name
from mousai.diffusion.process import Process, V
from mousai.types import MAX_STEPS, SCHEDULES as NAMES

_TOP = 0.98  # the highest t that `logsnr` and `karras` measure from
_BOTTOM = 0.01  # the lowest t that they measure to, as a part of t_start
_RHO = 7.0  # EDM's exponent


def schedule(name: str, steps: int, t_start: float = 1.0, process: Process = V) -> Tensor:
    """The times of `steps` steps from `t_start` to 0, `(steps + 1,)` float32 on the CPU; `name` is one of `NAMES`.

    `process` makes a difference to `logsnr` and `karras` alone.
    """
    check_name("schedule", name, NAMES)
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MAX_STEPS:
        raise ValueError(f"steps must be a whole number from 1 to {MAX_STEPS}, got {steps!r}")
    if not 0.0 < t_start <= 1.0:
        raise ValueError(f"t_start must be above 0 and at most 1 (1 = pure noise), got {t_start}")
    u = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    if name == "linear":
        times = t_start * u
    elif name == "cosine":
        times = t_start * torch.sin(math.pi / 2 * u) ** 2
    elif name == "quadratic":
        times = t_start * u**2
    else:
        times = _even_in_noise_level(name, steps, t_start, process)
    times[0], times[-1] = t_start, 0.0
    return times.to(torch.float32)


def start_time(strength: float) -> float:
    """The time from which a recording is varied by a strength from 0 to 1: t = sin(pi strength / 2).

    What holds over many frames, a timbre, a key, a style, is seen through noise that hides every single value, so that a
    prompt has a say in it late: at t = 0.7 still none. By the sine the strength is spread over the times where things change.
    """
    return math.sin(math.pi / 2 * strength)


def strength_from(t_start: float) -> float:
    """The strength of which `start_time` is this."""
    return 2 / math.pi * math.asin(t_start)


def _even_in_noise_level(name: str, steps: int, t_start: float, process: Process) -> Tensor:
    """Times whose noise level sigma / alpha is evenly spaced in its logarithm or its 7th root."""
    high, low = process.path.level(min(t_start, _TOP)), process.path.level(_BOTTOM * t_start)
    even = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    if name == "logsnr":
        level = torch.exp(math.log(high) + even * (math.log(low) - math.log(high)))
    else:
        level = (high ** (1 / _RHO) + even * (low ** (1 / _RHO) - high ** (1 / _RHO))) ** _RHO
    return process.path.time_at(level)
