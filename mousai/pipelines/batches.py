"""How many clips, or vectors, fit into memory at once: reckoned before, and found out where that was wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mousai.checks import is_out_of_memory
from mousai.device import memory_left

logger = logging.getLogger(__name__)

GIB = 2**30
SHARE = 0.9  # of the memory that is free, which a batch may be reckoned to take


def fitting(wanted: int, each: int, device: torch.device, what: str = "clip") -> int:
    """How many of `wanted` clips are made at once where each takes so many bytes, 0 = nobody knows; a line says so where they are fewer."""
    left = memory_left(device) if wanted > 1 and each else None
    if left is None or wanted * each <= SHARE * left:
        return wanted
    most = max(1, int(SHARE * left // each))
    logger.warning("a batch of %d %ss would take about %.3g GiB, %.3g GiB are free: %d at once", wanted, what, wanted * each / GIB, left / GIB, most)
    return most


def in_batches(count: int, batch: int, make: Callable[[int, int], Tensor], device: torch.device, what: str = "clip") -> Iterator[Tensor]:
    """`make(first, b)` for `count` clips, `batch` at once, in order; where memory runs out, for half as many from then on.

    ValueError where not even one fits.
    """
    first = 0
    while first < count:
        b, made = min(batch, count - first), None
        try:
            made = make(first, b)
        except RuntimeError as error:  # torch.OutOfMemoryError is one
            if not is_out_of_memory(error):
                raise
            if b == 1:
                advice = "ask for fewer seconds, or for --dtype bfloat16" if what == "clip" else "take another device"
                raise ValueError(f"a single {what} does not fit into the memory of {device}: {advice}") from error
        if made is None:  # what the failed batch held is free by now
            if device.type == "cuda":
                torch.cuda.empty_cache()
            batch = b // 2
            logger.warning("a batch of %d %ss did not fit into memory: %d at once", b, what, batch)
            continue
        yield made
        first += b
