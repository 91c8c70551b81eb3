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
    """x_t `(b, in_channels, l)` and t to a prediction `(b, out_channels, l)`, told tokens or frames or both.

    What is told is of the network's shape: one that no frames are injected into may leave `inject` out, and one may hear
    more, such as a `vector`.
    """

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

    def row_bytes(self, num_frames: int) -> int:
        """About the memory of a step for one row of x: a few times its widest activations, whatever the weights take."""

    def compile(self) -> None:
        """`torch.compile` for what runs in every step."""

    def cache(
        self, times: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None, inject: dict[int, Tensor] | None = None
    ) -> Prepared:
        """What can be computed once for `times (steps,)` and a condition; it may be nothing."""


def check_input(in_channels: int, total_factor: int, x: Tensor, t: Tensor) -> None:
    """ValueError unless a network of so many channels, that takes multiples of `total_factor` frames, takes x and t."""
    if x.ndim != 3 or x.shape[1] != in_channels or x.shape[2] == 0 or x.shape[2] % total_factor:
        expected = f"(b, {in_channels}, a multiple of {total_factor})"
        raise ValueError(f"expected x of shape {expected}, came {tuple(x.shape)}; pad it")
    if t.dtype in (torch.bfloat16, torch.float16) or not t.is_floating_point():
        raise ValueError(f"expected t in float32 (lower precision cannot tell steps apart), came {t.dtype}")
    if t.shape not in ((), (1,), (x.shape[0],)):
        raise ValueError(f"expected t 0-d or of shape ({x.shape[0]},), came {tuple(t.shape)}")
