"""Seeds from tuples of numbers and names, so that what is random at a place (seed, step, process, item) depends on it alone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
