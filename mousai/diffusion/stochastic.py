"""Samplers that draw fresh noise in every step, each with the schedule that belongs to it: how Stable Audio's models were released.

- `dpmpp_2m_sde`: SDE-DPM-Solver++(2M) (Lu et al., arXiv 2211.01095, section 6 and algorithm 2), at times that are even in
  log(sigma / alpha): diffusers' `CosineDPMSolverMultistepScheduler`. Its Brownian tree gives one normal variable an interval; so do
  the items' generators here.
- `pingpong`: the data as predicted, noised anew to the next level: diffusers' `FlowMatchEulerDiscreteScheduler` with
  `stochastic_sampling`, at times that are even in lambda = log(alpha / sigma).

A generator that is sampled by one of these has it among its `own_samplers`; `sampling.sample_latents` does the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mousai.diffusion.process import Process
from mousai.diffusion.samplers import Predict, checked_generators, checked_times, denoised
from mousai.randomness import randn
from mousai.types import Callback


@dataclass(frozen=True)
class OwnSampler:
    """A sampler that belongs to a model: `times(steps, t_start, process)`, and `run` as those of samplers.py, with `generators`, one an item."""

    times: Callable[[int, float, Process], Tensor]
    run: Callable[..., Tensor]


@torch.no_grad()
def dpmpp_2m_sde(
    process: Process, predict: Predict, x: Tensor, times: Tensor, *, generators: Sequence[torch.Generator], callback: Callback | None = None
) -> Tensor:
    """SDE-DPM-Solver++(2M): as `samplers.dpmpp_2m`, with the noise drawn anew; the first step and one to t = 0 are of first order."""
    times = checked_times(x, times)
    checked_generators(generators, x, "dpmpp_2m_sde")
    data_before, h_before = None, 0.0
    for i, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
        (alpha, sigma), (alpha_next, sigma_next) = process.path.amplitudes(t), process.path.amplitudes(t_next)
        data, _ = denoised(process, predict, x, t, t_next)
        extrapolated = data
        if sigma_next:
            h = process.log_snr(t_next) - process.log_snr(t if alpha else (t + t_next) / 2)
            if data_before is not None:
                extrapolated = data + h / (2 * h_before) * (data - data_before)
            data_before, h_before = data, h
        left = (sigma_next * alpha / (sigma * alpha_next)) ** 2  # exp(-2 h)
        x = sigma_next**2 * alpha / (alpha_next * sigma**2) * x + alpha_next * (1 - left) * extrapolated
        if sigma_next:
            x = x + sigma_next * math.sqrt(1 - left) * randn(x.shape[1:], generators, x.device, x.dtype)
        if callback:
            callback(i + 1, len(times) - 1)
    return x


@torch.no_grad()
def pingpong(
    process: Process, predict: Predict, x: Tensor, times: Tensor, *, generators: Sequence[torch.Generator], callback: Callback | None = None
) -> Tensor:
    """From each step's data to the next level by fresh noise alone."""
    times = checked_times(x, times)
    checked_generators(generators, x, "pingpong")
    for i, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
        alpha_next, sigma_next = process.path.amplitudes(t_next)
        data, _ = denoised(process, predict, x, t, t_next)
        x = alpha_next * data
        if sigma_next:
            x = x + sigma_next * randn(x.shape[1:], generators, x.device, x.dtype)
        if callback:
            callback(i + 1, len(times) - 1)
    return x


def even_in_log_level(high: float, low: float) -> Callable[[int, float, Process], Tensor]:
    """Times even in log(sigma / alpha) from `high`, or that of t_start where it is lower, to `low`, or a tenth of it; then 0. `(steps + 1,)`."""

    def times(steps: int, t_start: float, process: Process) -> Tensor:
        highest = high if t_start == 1 else min(high, process.path.level(t_start))
        levels = torch.linspace(math.log(highest), math.log(min(low, highest / 10)), steps, dtype=torch.float64).exp()
        return torch.cat([process.path.time_at(levels), levels.new_zeros(1)]).to(torch.float32)

    return times


def even_in_log_snr(least: float, most: float) -> Callable[[int, float, Process], Tensor]:
    """Times of which lambda is even in u from 1 to 0, `least` at u = 1 and `most` at 0, u from t_start on; the ends are t_start and 0."""

    def times(steps: int, t_start: float, process: Process) -> Tensor:
        even = torch.linspace(t_start, 0, steps + 1, dtype=torch.float64)
        found = process.path.time_at(torch.exp(even * (most - least) - most))
        found[0], found[-1] = t_start, 0.0
        return torch.cat([found[:1], found[1:][found[1:] < t_start]]).to(torch.float32)  # in diffusers the second may lie above the first

    return times
