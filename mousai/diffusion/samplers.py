"""Samplers: from x at `times[0]` to data, by asking `predict` once (or twice) a step.

For the v-objective, where `predict(x, t)` returns v:

- `ddim`: DDIM (Song et al., arXiv 2010.02502, equation 12); eta = 0 is deterministic, 1 is ancestral (DDPM).
- `dpmpp_2m`: DPM-Solver++(2M) (Lu et al., arXiv 2211.01095, algorithm 2), second order with one evaluation a step.

For flow matching, where `predict(x, t)` returns the velocity dx/dt: `euler`, `midpoint` and `heun`; the latter two
evaluate twice a step.

All of them:

- `predict(x, t)` gets x `(b, ...)` and `t`, a 0-d float32 tensor on the CPU, and returns a tensor of x's shape;
- `times` is `(steps + 1,)`, decreasing, as `schedules.schedule` makes it; x must already be at `times[0]`, that is
  pure noise for 1 and `process.add_noise(data, noise, times[0])` for audio-to-audio;
- `callback(done, total)` is called after every step;
- `constrain(x, t)` may replace the state, at the start and after every step (inpainting is made of it).
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mousai.randomness import randn

Predict = Callable[[Tensor, Tensor], Tensor]
Callback = Callable[[int, int], None]
Constrain = Callable[[Tensor, Tensor], Tensor]

FEW_STEPS = 15  # below it DPM-Solver++ ends on a first-order step (arXiv 2211.01095, appendix; `lower_order_final`)


def amplitudes(t: Tensor) -> tuple[float, float]:
    """alpha and sigma at a 0-d `t`, as Python floats in double precision; exactly (0, 1) at 1 and (1, 0) at 0."""
    angle = math.pi / 2
    return math.sin(angle * (1 - t.item())), math.sin(angle * t.item())


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


def ddim_step(
    x: Tensor,
    v: Tensor,
    t: Tensor,
    t_next: Tensor,
    eta: float = 0.0,
    fresh: Tensor | None = None,
) -> Tensor:
    """x at `t_next` from x and v at `t` (DDIM, equation 12); `eta` > 0 puts `fresh` noise in, of x's shape."""
    alpha, sigma = amplitudes(t)
    alpha_next, sigma_next = amplitudes(t_next)
    data, noise = alpha * x - sigma * v, sigma * x + alpha * v
    if eta == 0.0:
        return alpha_next * data + sigma_next * noise
    variance = (eta * sigma_next / sigma) ** 2 * (1 - (alpha / alpha_next) ** 2)  # equation 16, squared
    return alpha_next * data + math.sqrt(max(sigma_next**2 - variance, 0.0)) * noise + math.sqrt(variance) * fresh


@torch.no_grad()
def ddim(
    predict: Predict,
    x: Tensor,
    times: Tensor,
    *,
    eta: float = 0.0,
    generators: Sequence[torch.Generator] | None = None,
    callback: Callback | None = None,
    constrain: Constrain | None = None,
) -> Tensor:
    """DDIM for a v-model; `eta` from 0 to 1 is how much of the noise is drawn anew, from `generators`, one an item."""
    times = checked_times(x, times)
    checked_eta(eta)
    if eta > 0:
        checked_generators(generators, x, "eta > 0")
    x = constrain(x, times[0]) if constrain else x
    for i, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
        fresh = randn(x.shape[1:], generators, x.device, x.dtype) if eta else None
        x = ddim_step(x, predict(x, t).to(x.dtype), t, t_next, eta, fresh)
        x = constrain(x, t_next) if constrain else x
        if callback:
            callback(i + 1, len(times) - 1)
    return x


@torch.no_grad()
def dpmpp_2m(
    predict: Predict,
    x: Tensor,
    times: Tensor,
    *,
    callback: Callback | None = None,
    constrain: Constrain | None = None,
) -> Tensor:
    """DPM-Solver++(2M) for a v-model: the data prediction is continued linearly in lambda = log(alpha / sigma).

    The first step, a last step to t = 0 and the last of fewer than `FEW_STEPS` are of first order, which is DDIM.
    Lambda is infinite at t = 1; there its value half a step later stands in, so that the second step has a slope to
    continue (on a Gaussian mixture at 5 steps this halves DDIM's error, where an infinite lambda gains a third).
    """
    times = checked_times(x, times)
    steps = len(times) - 1
    data_before, h_before = None, 0.0
    x = constrain(x, times[0]) if constrain else x
    for i, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
        alpha, sigma = amplitudes(t)
        alpha_next, sigma_next = amplitudes(t_next)
        data = alpha * x - sigma * predict(x, t).to(x.dtype)
        final = i == steps - 1 and (sigma_next == 0 or steps < FEW_STEPS)
        h = 0.0 if final else _lambda(t_next) - _lambda(t if alpha else (t + t_next) / 2)
        extrapolated = data
        if data_before is not None:
            extrapolated = data + h / (2 * h_before) * (data - data_before)  # r = h_before / h
        ratio = sigma_next / sigma
        x = ratio * x + (alpha_next - ratio * alpha) * extrapolated  # exp(-h) = ratio alpha / alpha_next
        data_before, h_before = data, h
        x = constrain(x, t_next) if constrain else x
        if callback:
            callback(i + 1, steps)
    return x


def _lambda(t: Tensor) -> float:
    """log(alpha / sigma), finite for 0 < t < 1."""
    return -math.log(math.tan(math.pi / 2 * t.item()))


@torch.no_grad()
def _integrate(step: Callable, predict: Predict, x: Tensor, times: Tensor, callback, constrain) -> Tensor:
    times = checked_times(x, times)
    x = constrain(x, times[0]) if constrain else x
    for i, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
        x = step(lambda x, t: predict(x, t).to(x.dtype), x, t, t_next)
        x = constrain(x, t_next) if constrain else x
        if callback:
            callback(i + 1, len(times) - 1)
    return x


def _euler_step(predict: Predict, x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    return x + (t_next - t).item() * predict(x, t)


def _midpoint_step(predict: Predict, x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    dt = (t_next - t).item()
    return x + dt * predict(x + dt / 2 * predict(x, t), (t + t_next) / 2)


def _heun_step(predict: Predict, x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    dt = (t_next - t).item()
    first = predict(x, t)
    return x + dt / 2 * (first + predict(x + dt * first, t_next))


def euler(
    predict: Predict, x: Tensor, times: Tensor, *, callback: Callback | None = None, constrain: Constrain | None = None
) -> Tensor:
    """Euler's method along a flow, first order, one evaluation a step."""
    return _integrate(_euler_step, predict, x, times, callback, constrain)


def midpoint(
    predict: Predict, x: Tensor, times: Tensor, *, callback: Callback | None = None, constrain: Constrain | None = None
) -> Tensor:
    """The midpoint method along a flow, second order, two evaluations a step."""
    return _integrate(_midpoint_step, predict, x, times, callback, constrain)


def heun(
    predict: Predict, x: Tensor, times: Tensor, *, callback: Callback | None = None, constrain: Constrain | None = None
) -> Tensor:
    """Heun's method along a flow, second order, two evaluations a step, the second at the step's end (t = 0 too)."""
    return _integrate(_heun_step, predict, x, times, callback, constrain)


V_SAMPLERS = {"ddim": ddim, "dpmpp_2m": dpmpp_2m}
FLOW_SAMPLERS = {"euler": euler, "midpoint": midpoint, "heun": heun}


def sample(
    name: str,
    predict: Predict,
    x: Tensor,
    times: Tensor,
    *,
    objective: str = "v",
    eta: float = 0.0,
    generators: Sequence[torch.Generator] | None = None,
    callback: Callback | None = None,
    constrain: Constrain | None = None,
) -> Tensor:
    """The sampler called `name`, which must fit `objective`: "v" (`predict` gives v) or "flow" (the velocity)."""
    if objective not in ("v", "flow"):
        raise ValueError(f"objective must be 'v' or 'flow', got {objective!r}")
    known = V_SAMPLERS if objective == "v" else FLOW_SAMPLERS
    if name not in known:
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no sampler of a {objective}-model is called {name!r}: use one of {', '.join(known)}{hint}")
    if name == "ddim":
        return ddim(predict, x, times, eta=eta, generators=generators, callback=callback, constrain=constrain)
    if eta != 0.0:
        raise ValueError(f"eta belongs to ddim, {name} is deterministic: leave eta at 0 or use ddim")
    return known[name](predict, x, times, callback=callback, constrain=constrain)
