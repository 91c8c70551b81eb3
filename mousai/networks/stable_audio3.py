"""Stable Audio 3's diffusion transformer (arXiv 2605.17991) as diffusers has it, behind the protocol of network.py.

Every block attends to the condition's tokens, those that are masked out being a learned one, and is modulated by the time
and a vector of the whole item; learned tokens go before the frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mousai.checks import extra
from mousai.networks.network import check_input
from mousai.networks.stable_audio import StableAudioCache


@dataclass(frozen=True)
class StableAudio3DiTConfig:
    in_channels: int = 256
    features: int = 1536
    layers: int = 24
    heads: int = 24
    embedding_features: int = 768  # of the condition tokens
    global_features: int = 768  # of the vector that every block hears
    beside_channels: int = 257  # of an inpainting's input, which is left away here
    time_features: int = 256
    mlp: float = 4.0
    memory_tokens: int = 64
    differential: bool = True  # attention is the difference of two

    def __post_init__(self) -> None:
        if min(self.in_channels, self.features, self.layers, self.heads, self.embedding_features, self.global_features, self.time_features) < 1:
            raise ValueError(f"expected every number to be 1 or more, came {self}")
        if self.features % (4 * self.heads):
            raise ValueError(f"features: expected a multiple of 4 x heads = {4 * self.heads}, came {self.features}")


class StableAudio3DiT(nn.Module):
    """x_t `(b, in_channels, l)` and t to the velocity `(b, in_channels, l)`, for any l."""

    def __init__(self, config: StableAudio3DiTConfig) -> None:
        super().__init__()
        models = extra("diffusers", "Stable Audio 3's transformer", module="diffusers.models")
        self.config, self.total_factor = config, 1
        self.net = models.StableAudio3DiTModel(
            io_channels=config.in_channels, embed_dim=config.features, depth=config.layers, num_heads=config.heads, cond_token_dim=config.embedding_features,
            global_cond_dim=config.global_features, local_add_cond_dim=config.beside_channels, timestep_features_dim=config.time_features,
            ff_mult=config.mlp, num_memory_tokens=config.memory_tokens, use_differential_attention=config.differential,
        )  # fmt: skip

    @property
    def dtype(self) -> torch.dtype:
        return self.net.proj_in.weight.dtype

    def compile(self, **options: object) -> None:
        """`torch.compile` for the network."""
        self.net.compile(**{"dynamic": True} | options)

    def row_bytes(self, num_frames: int) -> int:
        """About the memory of a step for one row: as of `StableAudioDiT`."""
        return 20 * (num_frames + self.config.memory_tokens) * self.config.features * self.dtype.itemsize

    def cache(self, times: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None, vector: Tensor | None = None) -> StableAudioCache:
        """The condition that `forward` would be given, checked; ValueError unless it is all there."""
        for name, part, features in (("tokens", tokens, self.config.embedding_features), ("vector", vector, self.config.global_features)):
            if part is None or part.shape[-1] != features:
                raise ValueError(f"expected {name} of {features} features, came {None if part is None else tuple(part.shape)}")
        if mask is not None and mask.dtype != torch.bool:
            raise ValueError(f"expected a boolean mask, came {mask.dtype}")
        device = self.net.proj_in.weight.device
        return StableAudioCache(tokens.to(device, self.dtype), vector.to(device, self.dtype), None if mask is None else mask.to(device))

    def forward(
        self, x: Tensor, t: Tensor, *, tokens: Tensor | None = None, mask: Tensor | None = None, vector: Tensor | None = None,
        cache: StableAudioCache | None = None,
    ) -> Tensor:  # fmt: skip
        """The velocity for x_t, in the dtype of `x`; see `network.Network`."""
        check_input(self.config.in_channels, self.total_factor, x, t)
        cache = (self.cache(t, tokens, mask, vector) if cache is None else cache).expand(len(x))
        t = t.to(x.device, torch.float32).expand(len(x))
        return self.net(x.to(self.dtype), t, cache.tokens, cache.vector, cache.mask, return_dict=False)[0].to(x.dtype)

    def _apply(self, fn: Any, recurse: bool = True) -> StableAudio3DiT:
        super()._apply(fn, recurse)  # moves and casts
        self.net.rotary_pos_emb.float()  # positions from the 256th on would be the same in bfloat16
        return self
