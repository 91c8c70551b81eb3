"""Classifier-free guidance (Ho & Salimans, arXiv 2207.12598) as a wrapper of `predict`.

Both predictions come from one pass over a batch twice as long. A negative prompt is no case of its own: it is the
condition of the second half, in the place of the learned "no condition".
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

Predict = Callable[[Tensor, Tensor], Tensor]


def guided(
    predict_both: Predict,
    predict_cond: Predict,
    scale: float,
    *,
    interval: tuple[float, float] = (0.0, 1.0),
    rescale: float = 0.0,
) -> Predict:
    """A `predict(x, t)` that returns uncond + scale (cond - uncond); works for v and for velocities alike.

    `predict_both(xx, t)` gets `(2b, ...)`, x twice, and returns the conditional half first, then the unconditional
    (or negative) half. `predict_cond(x, t)` alone is asked where `scale` is 1 or t is outside `interval` (both ends
    belong to it), at half the cost (Kynkäänniemi et al., arXiv 2404.07724). `rescale` in [0, 1] is phi of Lin et
    al., arXiv 2305.08891, equations 15 and 16: how far each item is brought back to the standard deviation of its
    conditional prediction, which high scales exceed.
    """
    low, high = interval
    if not (math.isfinite(scale) and scale >= 0):
        raise ValueError(f"the guidance scale must be 0 or more (1 = no guidance), got {scale}")
    if not 0.0 <= low <= high <= 1.0:
        raise ValueError(f"the guidance interval must be (low, high) with 0 <= low <= high <= 1, got {interval}")
    if not 0.0 <= rescale <= 1.0:
        raise ValueError(f"the guidance rescale must be from 0 (none) to 1 (full), got {rescale}")

    def predict(x: Tensor, t: Tensor) -> Tensor:
        if scale == 1.0 or not bool((low <= t) & (t <= high)):  # in float32, where both ends belong to it
            return predict_cond(x, t)
        return mixed(*predict_both(torch.cat([x, x]), t).to(x.dtype).chunk(2), scale, rescale)

    return predict


def mixed(cond: Tensor, uncond: Tensor, scale: float, rescale: float = 0.0) -> Tensor:
    """uncond + scale (cond - uncond), brought back by `rescale` to the standard deviation of `cond`."""
    result = uncond + scale * (cond - uncond)
    return rescaled(result, cond, rescale) if rescale else result


def rescaled(mixed: Tensor, cond: Tensor, phi: float) -> Tensor:
    """`mixed` with each item's standard deviation moved by the part `phi` to that of `cond`; silence stays silence."""
    axes = tuple(range(1, mixed.ndim))
    std_cond = cond.std(axes, keepdim=True, correction=0)
    std_mixed = mixed.std(axes, keepdim=True, correction=0)
    factor = torch.where(std_mixed > 0, std_cond / std_mixed, torch.ones_like(std_mixed))
    return mixed * (phi * factor + (1 - phi))
