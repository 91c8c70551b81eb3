"""The contracts between the rooms: what a codec, a conditioner and a generator take and give.

Audio is `(b, c, s)` float32, nominally in [-1, 1]; latents `(b, d, l)`; condition tokens `(b, n, e)` with a
boolean mask `(b, n)`, True = real.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch
    from torch import Tensor


@dataclass(frozen=True)
class Condition:
    """What a generator is told: tokens `(b, n, e)`, mask `(b, n)` (True = real) and, where there is one, a vector `(b, e)`."""

    tokens: Tensor
    mask: Tensor
    vector: Tensor | None = None

    def __len__(self) -> int:
        return self.tokens.shape[0]

    def __getitem__(self, index: slice) -> Condition:
        """A sub-batch; `index` is a slice, so that the batch axis stays."""
        return Condition(self.tokens[index], self.mask[index], None if self.vector is None else self.vector[index])

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Condition:
        """The same condition on `device`; `dtype` is for tokens and vector, the mask stays boolean."""
        vector = None if self.vector is None else self.vector.to(device, dtype)
        return Condition(self.tokens.to(device, dtype), self.mask.to(device), vector)


class Codec(Protocol):
    """Audio to latents and back; `hop` is the number of samples a latent frame stands for."""

    sample_rate: int
    channels: int
    hop: int
    latent_channels: int

    def encode(self, audio: Tensor) -> Tensor:
        """Latents `(b, d, ceil(s / hop))` of unit variance for audio `(b, c, s)`."""

    def decode(self, latents: Tensor, num_samples: int, *, seeds: list[int], steps: int | None = None) -> Tensor:
        """Audio `(b, c, num_samples)` for latents `(b, d, l)`, `num_samples` at most `l * hop`; item i drawn from `seeds[i]`."""

    def loss(self, audio: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The training objective for audio `(b, c, s)`, with scalars worth logging."""


class Conditioner(Protocol):
    """Texts to a `Condition`; frozen, so its weights are in no optimizer, average or checkpoint of ours."""

    features: int

    def encode(self, texts: list[str]) -> Condition:
        """One condition for a list of `b` texts."""


class Generator(Protocol):
    """A condition to latents; the absence of a condition is an embedding that it has learned."""

    def loss(
        self, latents: Tensor, condition: Condition, generator: torch.Generator, frames: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The training objective for latents `(b, d, l)`; `frames` `(b,)` counts the real ones where some are padding."""

    def sample(self, condition: Condition, num_frames: int, *, seeds: list[int]) -> Tensor:
        """Latents `(b, d, num_frames)`, the item `i` drawn from `seeds[i]` alone."""
