"""What codecs and generators ask of the network that they diffuse with, whichever it is."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor


class Prepared(Protocol):
    """What a network needs besides x for a schedule and a condition; `prepared[:n]` or `prepared[rows]` is that of some items."""

    def __getitem__(self, index: slice | Tensor) -> Prepared:
        """The items of a slice, or of a LongTensor `(b,)` of rows, each of any item."""


class Network(Protocol):
    """x_t `(b, in_channels, l)` and t to a prediction `(b, out_channels, l)`, told tokens or frames or both."""

    total_factor: int  # l is a multiple of it
    dtype: torch.dtype  # of its weights

    def __call__(
        self, x: Tensor, t: Tensor, *, tokens: Tensor | None = None, mask: Tensor | None = None,
        inject: dict[int, Tensor] | None = None, cache: Any = None,
    ) -> Tensor:  # fmt: skip
        """The prediction for x_t, in the dtype of `x`.

        `t (b,)`, or 0-d for the whole batch, in float32. `tokens (b, n, e)` with boolean `mask (b, n)`, True = real.
        `inject` maps a depth to `(b, d, frames at that depth)`. With `cache`, which `cache(…)` made, the condition is the
        cache's and `t` one of its times.
        """

    def cache(
        self, times: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None, inject: dict[int, Tensor] | None = None
    ) -> Prepared:
        """What can be computed once for `times (steps,)` and a condition; it may be nothing."""
