"""Inpainting: a part of the data is known, the rest is sampled to fit it.

After every step the known part of the state is replaced by the known data at that step's noise level, and each step
is gone back and done again, so that the new part hears the known one at every level (Lugmayr et al., "RePaint",
arXiv 2201.09865, algorithm 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mousai.diffusion.process import Process
from mousai.diffusion.samplers import Predict, checked_eta, checked_generators, checked_times, ddim_step, denoised
from mousai.randomness import randn
from mousai.types import Callback


def checked_keep(keep: Tensor, data: Tensor) -> Tensor:
    """`keep` on data's device; ValueError unless it is boolean and broadcasts to data's `(b, d, l)`."""
    if keep.dtype != torch.bool:
        raise ValueError(f"keep must be boolean, True = known, got {keep.dtype}; a 0/1 mask becomes one by `mask == 1`")
    fits = keep.ndim == data.ndim and all(k in (1, n) for k, n in zip(keep.shape, data.shape, strict=True))
    if not fits:
        raise ValueError(f"keep {tuple(keep.shape)} does not broadcast to data {tuple(data.shape)}")
    return keep.to(data.device)


@torch.no_grad()
def inpaint(
    process: Process,
    predict: Predict,
    noise: Tensor,
    data: Tensor,
    keep: Tensor,
    times: Tensor,
    *,
    resamples: int = 5,
    eta: float = 1.0,
    generators: Sequence[torch.Generator] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """`data` `(b, d, l)` with everything but `keep` sampled anew; the known part comes back exactly.

    `noise` has data's shape; `keep` is boolean, `(b or 1, d or 1, l or 1)`, True = known. What `data` holds elsewhere
    matters only for `times[0]` < 1, where it is the start (audio-to-audio within a gap). Every step is a DDIM step
    done `resamples` times, so a schedule of n steps costs n times `resamples` evaluations; `callback(done, total)`
    counts them. `generators`, one an item, are needed unless `resamples` is 1 and `eta` 0. At equal cost few steps
    with several resamples fit the known part far better than many steps with one: see docs/diffusion.md.
    """
    if noise.shape != data.shape:
        raise ValueError(f"noise {tuple(noise.shape)} must have data's shape {tuple(data.shape)}")
    if isinstance(resamples, bool) or not isinstance(resamples, int) or resamples < 1:
        raise ValueError(f"resamples must be a whole number from 1, got {resamples!r}")
    if resamples > 1 or eta > 0:
        checked_generators(generators, data, "inpainting with resamples > 1 or eta > 0")
    checked_eta(eta)
    times, keep = checked_times(data, times), checked_keep(keep, data)
    if times[-1] != 0:
        raise ValueError(f"times must end at 0, where the known part is the data itself, got {times[-1]:g}")
    steps = len(times) - 1
    x = process.add_noise(data, noise, times[0]) if times[0] < 1 else noise
    for i, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
        for j in range(resamples):
            fresh = randn(x.shape[1:], generators, x.device, x.dtype) if eta else None
            x = ddim_step(process, *denoised(process, predict, x, t, t_next), t, t_next, eta, fresh)
            x = torch.where(keep, data if t_next == 0 else process.add_noise(data, noise, t_next), x)
            if callback:
                callback(i * resamples + j + 1, steps * resamples)
            if j < resamples - 1:
                x, noise = back(process, x, noise, t_next, t, randn(x.shape[1:], generators, x.device, x.dtype))
    return x


def back(process: Process, x: Tensor, noise: Tensor, t: Tensor, t_back: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
    """x at `t_back` > t, by adding noise to x at `t`; and the noise that data has become x by, were x's `noise`."""
    alpha, sigma = process.path.amplitudes(t)
    alpha_back, sigma_back = process.path.amplitudes(t_back)
    ratio = alpha_back / alpha
    added = math.sqrt(max(sigma_back**2 - (ratio * sigma) ** 2, 0.0))
    return ratio * x + added * fresh, (ratio * sigma * noise + added * fresh) / sigma_back
