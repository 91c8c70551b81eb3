"""Samplers: from x at `times[0]` to data, by asking `predict` once (or twice) a step. Each serves every process.

- `ddim`: DDIM (Song et al., arXiv 2010.02502, equation 12); eta = 0 is deterministic, 1 is ancestral (DDPM).
- `dpmpp_2m`: DPM-Solver++(2M) (Lu et al., arXiv 2211.01095, algorithm 2), second order with one evaluation a step.
- `euler`, `midpoint` and `heun` follow dx/dt; the latter two are of second order and evaluate twice a step.

All of them:

- `process` is what the network was trained for, see process.py;
- `predict(x, t)` gets x `(b, ...)` and `t`, a 0-d float32 tensor on the CPU, and returns the prediction, of x's shape;
- `times` is `(steps + 1,)`, decreasing, as `schedules.schedule` makes it; x must already be at `times[0]`, that is
  pure noise for 1 and `process.add_noise(data, noise, times[0])` for audio-to-audio;
- `callback(done, total)` is called after every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mousai import types
from mousai.checks import check_name
from mousai.diffusion.process import Process
from mousai.randomness import randn
from mousai.types import Callback

Predict = Callable[[Tensor, Tensor], Tensor]

FEW_STEPS = 15  # below it DPM-Solver++ ends on a first-order step (arXiv 2211.01095, appendix; `lower_order_final`)


def checked_times(x: Tensor, times: Tensor) -> Tensor:
    """`times` in float32 on the CPU; ValueError unless it is a schedule and x a batch of floating-point numbers."""
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"times must be (steps + 1,) with at least one step, got shape {tuple(times.shape)}")
    times = times.to("cpu", torch.float32)
    if not bool((times[1:] < times[:-1]).all()) or times[0] > 1 or times[-1] < 0:
        raise ValueError(f"times must fall from at most 1 to at least 0, got {times[0]:g} … {times[-1]:g}")
    if x.ndim < 2 or not x.is_floating_point():
        raise ValueError(f"x must be a floating-point (b, …), got {x.dtype} {tuple(x.shape)}")
    return times


def checked_eta(eta: float) -> None:
    """ValueError unless eta is from 0 to 1."""
    if not 0.0 <= eta <= 1.0:
        raise ValueError(f"eta must be from 0 (deterministic) to 1 (ancestral), got {eta}")


def checked_generators(generators: Sequence[torch.Generator] | None, x: Tensor, what: str) -> None:
    """ValueError unless there is one generator for each of x's items; `what` names who draws noise."""
    if len(generators or ()) != len(x):
        raise ValueError(f"{what} draws noise: pass {len(x)} generators, one an item, got {len(generators or ())}")


def denoised(process: Process, predict: Predict, x: Tensor, t: Tensor, t_next: Tensor) -> tuple[Tensor, Tensor]:
    """The data and the noise that x at `t` is made of, as the network sees it for a step to `t_next`."""
    return process.data_and_noise(x, predict(x, process.asked_at(t, t_next)).to(x.dtype), t, t_next)


def ddim_step(
    process: Process,
    data: Tensor,
    noise: Tensor,
    t: Tensor,
    t_next: Tensor,
    eta: float = 0.0,
    fresh: Tensor | None = None,
) -> Tensor:
    """x at `t_next` from the data and noise at `t` (DDIM, equation 12); `eta` > 0 puts `fresh` noise in, of their shape.

    With eta 1 the variance of what is fresh is that of x at t_next given x at t and the data, on any path.
    """
    alpha, sigma = process.path.amplitudes(t)
    alpha_next, sigma_next = process.path.amplitudes(t_next)
    if eta == 0.0:
        return alpha_next * data + sigma_next * noise
    given = process.path.power(t) - (alpha / alpha_next) ** 2 * process.path.power(t_next)
    variance = (eta * sigma_next / sigma) ** 2 * given  # equation 16, squared
    return alpha_next * data + math.sqrt(max(sigma_next**2 - variance, 0.0)) * noise + math.sqrt(variance) * fresh


@torch.no_grad()
def ddim(
    process: Process,
    predict: Predict,
    x: Tensor,
    times: Tensor,
    *,
    eta: float = 0.0,
    generators: Sequence[torch.Generator] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """DDIM; `eta` from 0 to 1 is how much of the noise is drawn anew, from `generators`, one an item."""
    times = checked_times(x, times)
    checked_eta(eta)
    if eta > 0:
        checked_generators(generators, x, "eta > 0")
    for i, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
        fresh = randn(x.shape[1:], generators, x.device, x.dtype) if eta else None
        x = ddim_step(process, *denoised(process, predict, x, t, t_next), t, t_next, eta, fresh)
        if callback:
            callback(i + 1, len(times) - 1)
    return x


@torch.no_grad()
def dpmpp_2m(process: Process, predict: Predict, x: Tensor, times: Tensor, *, callback: Callback | None = None) -> Tensor:
    """DPM-Solver++(2M): the data prediction is continued linearly in lambda = log(alpha / sigma).

    The first step, a last step to t = 0 and the last of fewer than `FEW_STEPS` are of first order, which is DDIM.
    Lambda is infinite at t = 1; there its value half a step later stands in, so that the second step has a slope to
    continue (on a Gaussian mixture at 5 steps this halves DDIM's error, where an infinite lambda gains a third).
    """
    times = checked_times(x, times)
    steps = len(times) - 1
    data_before, h_before = None, 0.0
    for i, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
        alpha, sigma = process.path.amplitudes(t)
        alpha_next, sigma_next = process.path.amplitudes(t_next)
        data, _ = denoised(process, predict, x, t, t_next)
        final = i == steps - 1 and (sigma_next == 0 or steps < FEW_STEPS)
        h = 0.0 if final else process.log_snr(t_next) - process.log_snr(t if alpha else (t + t_next) / 2)
        extrapolated = data
        if data_before is not None:
            extrapolated = data + h / (2 * h_before) * (data - data_before)  # r = h_before / h
        ratio = sigma_next / sigma
        x = ratio * x + (alpha_next - ratio * alpha) * extrapolated  # exp(-h) = ratio alpha / alpha_next
        data_before, h_before = data, h
        if callback:
            callback(i + 1, steps)
    return x


Slope = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, t, where the step goes) -> dx/dt


def _integrator(step: Callable[[Slope, Tensor, Tensor, Tensor], Tensor], what: str) -> Callable[..., Tensor]:
    @torch.no_grad()
    def run(process: Process, predict: Predict, x: Tensor, times: Tensor, *, callback: Callback | None = None) -> Tensor:
        def slope(x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
            return process.derivative(*denoised(process, predict, x, t, t_next), t)

        times = checked_times(x, times)
        for i, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
            x = step(slope, x, t, t_next)
            if callback:
                callback(i + 1, len(times) - 1)
        return x

    run.__doc__ = what
    return run


def _euler_step(slope: Slope, x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    return x + (t_next - t).item() * slope(x, t, t_next)


def _midpoint_step(slope: Slope, x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    dt = (t_next - t).item()
    return x + dt * slope(x + dt / 2 * slope(x, t, t_next), (t + t_next) / 2, t_next)


def _heun_step(slope: Slope, x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    dt = (t_next - t).item()
    first = slope(x, t, t_next)
    return x + dt / 2 * (first + slope(x + dt * first, t_next, t_next))


euler = _integrator(_euler_step, "Euler's method, first order, one evaluation a step.")
midpoint = _integrator(_midpoint_step, "The midpoint method, second order, two evaluations a step.")
heun = _integrator(_heun_step, "Heun's method, second order, two evaluations a step, the second at the step's end (t = 0 too).")

SAMPLERS = {"ddim": ddim, "dpmpp_2m": dpmpp_2m, "euler": euler, "midpoint": midpoint, "heun": heun}


def register(name: str, sampler: Callable[..., Tensor]) -> None:
    """Has `sampler(process, predict, x, times, *, callback)` be one of those that settings may name; ValueError for a name that is taken."""
    if name in SAMPLERS:
        raise ValueError(f"sampler: there is one called {name!r}; register it under another name")
    SAMPLERS[name] = sampler
    types.SAMPLERS.append(name)


def sample(
    name: str,
    process: Process,
    predict: Predict,
    x: Tensor,
    times: Tensor,
    *,
    eta: float = 0.0,
    generators: Sequence[torch.Generator] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """The sampler called `name`, one of `SAMPLERS`; `eta` and `generators` are for DDIM."""
    check_name("sampler", name, SAMPLERS)
    if name == "ddim":
        return ddim(process, predict, x, times, eta=eta, generators=generators, callback=callback)
    if eta != 0.0:
        raise ValueError(f"eta belongs to ddim, {name} is deterministic: leave eta at 0 or use ddim")
    return SAMPLERS[name](process, predict, x, times, callback=callback)
