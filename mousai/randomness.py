"""The one rule for seeds: what is drawn follows from a key (seed, item, place, step, process) alone, on the CPU.

An item drawn from its own generator is the same alone, in any batch, on any device and on any number of processes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

NOISE_BLOCK = 64  # frames whose positional noise comes from one generator


def seeded_generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One CPU generator a seed; seeds are 0 .. 2**32 - 1, since torch's CPU generator reads the low 32 bits alone."""
    for seed in seeds:
        if not 0 <= seed < 2**32:
            raise ValueError(f"a seed is a whole number from 0 to {2**32 - 1}, got {seed}")
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def randn(
    shape: Sequence[int],
    generators: Sequence[torch.Generator],
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Standard normal noise `(b, *shape)`, item i from `generators[i]`; drawn in float32 on the CPU, then moved."""
    if not generators:
        raise ValueError("noise needs at least one generator: one an item")
    items = [torch.randn(tuple(shape), generator=generator, dtype=torch.float32) for generator in generators]
    return torch.stack(items).to(device=device, dtype=dtype)


def positional_noise(seeds: Sequence[int], first: int, stop: int, width: int) -> Tensor:
    """Standard normal noise `(b, stop - first, width)` that depends on the item's seed and the frame's place alone."""
    blocks = range(first // NOISE_BLOCK, (stop - 1) // NOISE_BLOCK + 1)
    items = []
    for seed in seeds:
        drawn = [torch.randn(NOISE_BLOCK, width, generator=block_generator(seed, block)) for block in blocks]
        items.append(torch.cat(drawn)[first - blocks[0] * NOISE_BLOCK :][: stop - first])
    return torch.stack(items)


def block_generator(seed: int, block: int) -> torch.Generator:
    """A generator for the `block` of a stream of noise that belongs to `seed`."""
    digest = hashlib.blake2b(f"{seed}:{block}".encode(), digest_size=4).digest()  # torch reads 32 bits of a seed
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest, "little"))


def seed_of(*key: int | str) -> int:
    """A seed of 63 bits for whole numbers and names; near keys have unrelated seeds."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator_of(key: tuple[int, ...]) -> torch.Generator:
    """A new generator, on the CPU, seeded from `key`."""
    return torch.Generator().manual_seed(seed_of(*key))


@contextmanager
def seeded(key: tuple[int, ...], device: torch.device) -> Iterator[None]:
    """Dropout inside torch's layers draws from the global generator: within the block it is seeded from `key`."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed_of(*key, 1))
        yield
