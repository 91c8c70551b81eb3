"""Stable Audio's diffusion transformer (Evans et al., arXiv 2407.14358, section 2.3) as diffusers has it, behind the protocol of network.py.

Every block attends to the condition's tokens; a token before the frames carries the time and a vector of the whole item. The
weights and the blocks are diffusers' `StableAudioDiTModel`; around them, the time is embedded in float32 (in bfloat16
neighbouring steps are one and the same), and a mask is boolean (numbers would be added to the attention's logits).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mousai.checks import extra
from mousai.networks.network import check_input


@dataclass(frozen=True)
class StableAudioDiTConfig:
    """Shape of a `StableAudioDiT`; the defaults are Stable Audio Open's, 1,057M weights."""

    in_channels: int = 64
    layers: int = 24
    heads: int = 24
    head_features: int = 64
    kv_heads: int = 12  # of cross-attention, each for several of the heads
    cross_features: int = 768  # that the tokens are brought to
    time_features: int = 256
    embedding_features: int = 768  # features of the condition tokens
    global_features: int = 1536  # of the vector that the first token carries
    frames: int = 1024  # latent frames that it is trained on
    out_channels: int = 0  # 0 = in_channels
    checkpointing: bool = False  # recompute each block in the backward pass: less memory, about a third more time

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if name not in ("out_channels", "checkpointing") and getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, came {getattr(self, name)}")
        if self.out_channels < 0 or self.time_features % 2 or self.head_features % 4:
            raise ValueError(f"expected out_channels >= 0, even time_features and head_features a multiple of 4, came {self}")
        if self.heads % self.kv_heads or self.cross_features != self.kv_heads * self.head_features:
            raise ValueError(f"kv_heads: expected a divisor of heads, and cross_features of kv_heads x head_features, came {self}")


@dataclass(frozen=True)
class StableAudioCache:
    """What a `StableAudioDiT` is told besides x and t, projected: of b items, or of one for any batch."""

    tokens: Tensor  # (b | 1, n, cross features)
    vector: Tensor  # (b | 1, inner features)
    mask: Tensor | None = None  # boolean (b | 1, n)

    def __getitem__(self, index: slice | Tensor) -> StableAudioCache:
        return self.each(lambda part: part[index])

    def expand(self, b: int) -> StableAudioCache:
        """What is told one item for b items."""
        return self.each(lambda part: part.expand(b, *part.shape[1:]))

    def each(self, change: Callable[[Tensor], Tensor]) -> StableAudioCache:
        """The cache of every part changed."""
        return StableAudioCache(change(self.tokens), change(self.vector), None if self.mask is None else change(self.mask))


class StableAudioDiT(nn.Module):
    """x_t `(b, in_channels, l)` and t to the prediction `(b, out_channels, l)`, for any l."""

    def __init__(self, config: StableAudioDiTConfig) -> None:
        super().__init__()
        models = extra("diffusers", "Stable Audio's transformer", module="diffusers.models")
        self.config, self.total_factor = config, 1
        self.net = models.StableAudioDiTModel(
            sample_size=config.frames, in_channels=config.in_channels, num_layers=config.layers, attention_head_dim=config.head_features,
            num_attention_heads=config.heads, num_key_value_attention_heads=config.kv_heads, out_channels=config.out_channels or config.in_channels,
            cross_attention_dim=config.cross_features, time_proj_dim=config.time_features, global_states_input_dim=config.global_features,
            cross_attention_input_dim=config.embedding_features,
        )  # fmt: skip
        silent = [self.net.preprocess_conv, self.net.postprocess_conv]
        for block in self.net.transformer_blocks:
            silent += [block.attn1.to_out[0], block.attn2.to_out[0], block.ff.net[2]]
        for layer in silent:  # as the reference has it: at first a block passes its input on
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
        self.run = StableAudioDiT.body

    @property
    def dtype(self) -> torch.dtype:
        return self.net.proj_in.weight.dtype

    def compile(self, **options: object) -> None:
        """`torch.compile` for what runs in every step."""
        self.run = torch.compile(StableAudioDiT.body, **{"dynamic": True} | options)  # unbound: a deep copy runs its own weights

    def row_bytes(self, num_frames: int) -> int:
        """About the memory of a step for one row: 20 times what goes from block to block, of which the MLP's gate is the most."""
        return 20 * (num_frames + 1) * self.config.heads * self.config.head_features * self.dtype.itemsize

    def cache(self, times: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None, vector: Tensor | None = None) -> StableAudioCache:
        """What the condition that `forward` would be given comes to, whatever the times; ValueError unless it is all there."""
        config, device = self.config, self.net.proj_in.weight.device
        for name, part, shape in (("tokens", tokens, ("b", "n", config.embedding_features)), ("vector", vector, ("b", config.global_features))):
            if part is None or part.ndim != len(shape) or part.shape[-1] != shape[-1]:
                came = None if part is None else tuple(part.shape)
                raise ValueError(f"expected {name} ({', '.join(map(str, shape))}), came {came}; of no condition give its learned embedding")
        if mask is not None and (mask.dtype != torch.bool or mask.shape != tokens.shape[:2]):
            raise ValueError(f"expected a boolean mask {tuple(tokens.shape[:2])}, came {mask.dtype} {tuple(mask.shape)}")
        tokens, vector = (self.promoted(part.to(device)) for part in (tokens, vector))
        return StableAudioCache(self.net.cross_attention_proj(tokens), self.net.global_proj(vector), None if mask is None else mask.to(device))

    def promoted(self, x: Tensor) -> Tensor:
        """x in the weights' dtype, which autocast takes care of itself."""
        return x if torch.is_autocast_enabled(x.device.type) else x.to(self.dtype)

    def forward(
        self, x: Tensor, t: Tensor, *, tokens: Tensor | None = None, mask: Tensor | None = None, vector: Tensor | None = None,
        cache: StableAudioCache | None = None,
    ) -> Tensor:  # fmt: skip
        """The prediction for x_t, in the dtype of `x`; see `network.Network`. `vector (b, global_features)` is what the first token carries."""
        check_input(self.config.in_channels, self.total_factor, x, t)
        cache = (self.cache(t, tokens, mask, vector) if cache is None else cache).expand(len(x))
        with torch.autocast(x.device.type, enabled=False):
            time = self.net.timestep_proj(self.net.time_proj(t.to(x.device, torch.float32).expand(len(x))))
        first = cache.vector + time.to(cache.vector.dtype)
        return self.run(self, self.promoted(x), first, cache.tokens, cache.mask).to(x.dtype)

    def body(self, x: Tensor, first: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """The part of `forward` that depends on x: `StableAudioDiTModel.forward` after its embeddings."""
        net = self.net
        x = net.proj_in((net.preprocess_conv(x) + x).transpose(1, 2))  # (b, l, inner)
        x = torch.cat([first[:, None].to(x.dtype), x], dim=1)
        rotary = rotary_angles(x.shape[1], self.config.head_features // 2, x.device)
        for block in net.transformer_blocks:
            told = (None, tokens, mask, rotary)
            if self.config.checkpointing and self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, *told, use_reentrant=False)
            else:
                x = block(x, *told)
        x = net.proj_out(x)[:, 1:].transpose(1, 2)
        return net.postprocess_conv(x) + x

    def _apply(self, fn: Any, recurse: bool = True) -> StableAudioDiT:
        super()._apply(fn, recurse)  # moves and casts
        self.net.time_proj.float()
        self.net.timestep_proj.float()
        return self


def rotary_angles(count: int, features: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of positions, `(count, features)` float32 each, both halves of the features alike: diffusers' `get_1d_rotary_pos_embed`."""
    rates = 1.0 / (10000.0 ** (torch.arange(0, features, 2, device=device, dtype=torch.float32) / features))
    angles = torch.outer(torch.arange(count, device=device, dtype=torch.float32), rates).repeat(1, 2)
    return angles.cos(), angles.sin()
