"""A diffusion transformer over latent frames: one token for a patch of neighbouring frames.

Blocks are modulated by time and condition and begin as nothing (AdaLN-zero; Peebles & Xie, arXiv 2212.09748), attention has
rotary positions (Su et al., arXiv 2104.09864), and queries and keys of unit norm with a learned scale (Henry et al., arXiv
2010.04245). The text is heard pooled, in the modulation, and where the config says so by cross-attention too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mousai.networks.attention import CrossAttention, split_heads, token_mask
from mousai.networks.linear import Linear
from mousai.networks.network import check_input
from mousai.networks.step_cache import KeysValues
from mousai.networks.time_embedding import FourierTime

SLOWEST = 1000  # tokens in which the slowest rotary angle turns once; the fastest turns half in one


@dataclass(frozen=True)
class DiTConfig:
    """Shape of a `DiT`."""

    in_channels: int
    features: int = 256
    layers: int = 6
    heads: int = 4
    patch: int = 1  # latent frames a token
    mlp: int = 4  # hidden features of a block's MLP, times `features`
    embedding_features: int = 0  # features of the condition tokens; 0 = there are none
    cross_attention: bool = False  # every block attends to the condition tokens
    out_channels: int = 0  # 0 = in_channels
    checkpointing: bool = False  # recompute each block in the backward pass: less memory, about a third more time

    def __post_init__(self) -> None:
        for name in ("in_channels", "features", "layers", "heads", "patch", "mlp"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, came {getattr(self, name)}")
        if self.features % (2 * self.heads):
            raise ValueError(f"features: expected a multiple of 2 x heads = {2 * self.heads}, came {self.features}")
        if min(self.embedding_features, self.out_channels) < 0:
            raise ValueError("embedding_features, out_channels: expected at least 0")
        if self.cross_attention and not self.embedding_features:
            raise ValueError("embedding_features: cross_attention needs the condition tokens' feature count, came 0")


@dataclass(frozen=True)
class DiTCache:
    """What a `DiT` is told besides x and t, prepared: of b items, or of one for any batch."""

    vector: Tensor  # (b | 1, features)
    keys_values: list[KeysValues]  # one a block, where there is cross-attention
    mask: Tensor | None = None  # (b | 1, 1, 1, n)

    def __getitem__(self, index: slice | Tensor) -> DiTCache:
        mask = None if self.mask is None else self.mask[index]
        return DiTCache(self.vector[index], [(k[index], v[index]) for k, v in self.keys_values], mask)


class Block(nn.Module):
    """Self-attention, cross-attention if there is any, and an MLP, each added to x; at first nothing is."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        d = config.features
        self.heads = config.heads
        self.modulation = nn.Linear(d, 6 * d)  # scale, shift and gate of attention, then of the MLP
        self.to_qkv = Linear(d, 3 * d, bias=False)
        self.qk_scale = nn.Parameter(torch.ones(()))
        self.to_out = Linear(d, d, bias=False)
        self.cross = CrossAttention(d, config.heads, d // config.heads, config.embedding_features) if config.cross_attention else None
        self.up, self.down = Linear(d, config.mlp * d), Linear(config.mlp * d, d)
        for weight in (self.modulation.weight, self.modulation.bias, self.to_out.weight, self.down.weight, self.down.bias):
            nn.init.zeros_(weight)
        with torch.no_grad():
            self.modulation.bias.unflatten(0, (6, d))[[2, 5]] = 1.0  # gates: what they let through is 0 at first
        if self.cross is not None:
            nn.init.zeros_(self.cross.to_out.weight)

    def forward(self, x: Tensor, vector: Tensor, angles: Tensor, keys_values: KeysValues | None, mask: Tensor | None) -> Tensor:
        scale, shift, gate, mlp_scale, mlp_shift, mlp_gate = self.modulation(vector)[:, None].chunk(6, dim=-1)
        x = x + gate * self.attend(rms_norm(x) * (1 + scale) + shift, angles)
        if self.cross is not None:
            x = self.cross(x, keys_values, mask)
        return x + mlp_gate * self.down(F.gelu(self.up(rms_norm(x) * (1 + mlp_scale) + mlp_shift), approximate="tanh"))

    def attend(self, x: Tensor, angles: Tensor) -> Tensor:
        q, k, v = (split_heads(each, self.heads) for each in self.to_qkv(x).chunk(3, dim=-1))  # (b, heads, n, d)
        q, k = rotated(rms_norm(q) * (1 + self.qk_scale.abs()), angles), rotated(rms_norm(k), angles)
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class DiT(nn.Module):
    """x_t `(b, in_channels, l)` and t to the prediction `(b, out_channels, l)`; l a multiple of `total_factor`."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        d, out_channels = config.features, config.out_channels or config.in_channels
        self.config, self.total_factor = config, config.patch
        self.time = FourierTime(d)
        self.text = nn.Linear(config.embedding_features, d) if config.embedding_features else None
        self.enter = Linear(config.in_channels * config.patch, d)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.modulation = nn.Linear(d, 2 * d)
        self.leave = Linear(d, out_channels * config.patch)
        for layer in (self.modulation, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.run = DiT.body

    @property
    def dtype(self) -> torch.dtype:
        return self.leave.weight.dtype

    def row_bytes(self, num_frames: int) -> int:
        """About the memory of a step for one row: the MLP's hidden features twice, and a dozen times what goes from block to block."""
        return (12 + 2 * self.config.mlp) * -(-num_frames // self.total_factor) * self.config.features * self.dtype.itemsize

    def compile(self, **options: object) -> None:
        """`torch.compile` for what runs in every step; other lengths are the same program, from the second on."""
        self.run = torch.compile(DiT.body, **{"dynamic": True} | options)  # unbound: a deep copy runs its own weights

    def cache(
        self, times: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None, vector: Tensor | None = None,
        more_tokens: tuple[Tensor, Tensor] | None = None,
    ) -> DiTCache:  # fmt: skip
        """What the condition that `forward` would be given comes to, whatever the times."""
        config, device = self.config, self.leave.weight.device
        if (tokens is None) != (self.text is None) or (tokens is not None and tokens.shape[-1] != config.embedding_features):
            came = None if tokens is None else tuple(tokens.shape)
            raise ValueError(f"expected tokens of {config.embedding_features} features (0 = none), came {came}")
        vector = torch.zeros(1, config.features, device=device, dtype=self.dtype) if vector is None else vector.to(device, self.dtype)
        if tokens is None:
            return DiTCache(vector, [])
        tokens = tokens.to(device, self.dtype)
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=device) if mask is None else mask.to(device)
        vector = vector + self.text(pooled(tokens, mask))
        if more_tokens is not None:
            more, real = more_tokens
            tokens, mask = torch.cat([tokens, more.to(device, self.dtype)], dim=1), torch.cat([mask, real.to(device)], dim=1)
        keys_values = [block.cross.project(tokens) for block in self.blocks if block.cross is not None]
        return DiTCache(vector, keys_values, token_mask(mask))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        *,
        tokens: Tensor | None = None,
        mask: Tensor | None = None,
        vector: Tensor | None = None,
        more_tokens: tuple[Tensor, Tensor] | None = None,
        cache: DiTCache | None = None,
        angles: Tensor | None = None,
    ) -> Tensor:
        """The prediction for x_t, in the dtype of `x`; see `network.Network`.

        `angles`, as `angles_of` makes them or of items of their own `(2, b, 1, tokens, pairs)`, place tokens that do not lie in a row. `vector (b, features)` is added to what time and text say to every block. `more_tokens (b, m, e)`, with
        their mask `(b, m)`, are attended to as `tokens` are, and no part of the pooled text.
        """
        check_input(self.config.in_channels, self.total_factor, x, t)
        cache = self.cache(t, tokens, mask, vector, more_tokens) if cache is None else cache
        frames = x if torch.is_autocast_enabled(x.device.type) else x.to(self.dtype)
        time = self.time(t.to(x.device, torch.float32).expand(len(x)))
        vector = F.silu(time.to(self.dtype) + cache.vector)
        keys_values = cache.keys_values or [None] * len(self.blocks)
        return self.run(self, frames, vector, keys_values, cache.mask, angles).to(x.dtype)

    def body(self, x: Tensor, vector: Tensor, keys_values: list[KeysValues | None], mask: Tensor | None, angles: Tensor | None = None) -> Tensor:
        """The part of `forward` that depends on x."""
        x = self.enter(rearrange(x, "b d (n p) -> b n (d p)", p=self.total_factor))
        angles = (angles_of(x.shape[1], self.config.features // self.config.heads, x.device) if angles is None else angles).to(x.dtype)
        for block, kv in zip(self.blocks, keys_values, strict=True):
            if self.config.checkpointing and self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, vector, angles, kv, mask, use_reentrant=False)
            else:
                x = block(x, vector, angles, kv, mask)
        scale, shift = self.modulation(vector)[:, None].chunk(2, dim=-1)
        return rearrange(self.leave(rms_norm(x) * (1 + scale) + shift), "b n (d p) -> b d (n p)", p=self.total_factor)


def rms_norm(x: Tensor) -> Tensor:
    """x with a root mean square of 1 over its last axis."""
    return F.rms_norm(x, x.shape[-1:])


def pooled(tokens: Tensor, mask: Tensor) -> Tensor:
    """The mean of the real tokens `(b, n, e)`, brought to zero mean and unit variance: `(b, e)`."""
    real = mask[..., None].to(tokens)
    return F.layer_norm((tokens * real).sum(1) / real.sum(1).clamp(min=1), tokens.shape[-1:])


def angles_of(count: int, features: int, device: torch.device) -> Tensor:
    """The rotary angles of `count` tokens as cosines and sines, `(2, count, features / 2)` float32."""
    angles = torch.arange(count, device=device)[:, None] * rates_of(features // 2, SLOWEST, device)
    return torch.stack([angles.cos(), angles.sin()])


def rates_of(count: int, slowest: float, device: torch.device) -> Tensor:
    """How far angles `(count,)` turn from one token to the next: the fastest half a turn, the slowest once in `slowest` tokens."""
    return torch.exp(torch.linspace(math.log(math.pi), math.log(2 * math.pi / slowest), count, device=device))


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """Pairs of features of x `(b, heads, n, d)`, the i-th of either half, turned by their angles."""
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
