"""Networks that make one vector of text tokens: x_t `(b, e)` and t to the prediction `(b, e)`.

`Modulated` is ours: blocks that time and text modulate, with cross-attention to the text. `Decoder` is MUSE's: a
transformer decoder over a sequence of one, whose self-attention can only attend to itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mousai.networks.attention import CrossAttention, token_mask
from mousai.networks.dit import pooled, rms_norm
from mousai.networks.linear import Linear
from mousai.networks.step_cache import KeysValues
from mousai.networks.time_embedding import FourierTime

PERIODS = 10000.0  # of the decoder's sinusoids, the slowest to the fastest


@dataclass(frozen=True)
class VectorNetworkConfig:
    """Shape of a network of vectors."""

    type: Literal["modulated", "decoder"] = "modulated"
    width: int = 1024
    layers: int = 16
    heads: int = 16
    mlp: int = 4  # hidden features of a block's MLP, times `width`
    time_scale: float = 1.0  # of the decoder: what t is multiplied by before its sinusoids

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.heads, self.mlp) < 1 or self.width % (2 * self.heads):
            raise ValueError(f"expected width, layers, heads and mlp of 1 or more, width a multiple of 2 x heads; came {self}")


@dataclass(frozen=True)
class TextCache:
    """What a text comes to in every step."""

    vector: Tensor | None  # (b, width), what blocks are modulated by
    keys_values: list[KeysValues]  # one a block
    memory: Tensor | None  # (b, n, width), of a decoder
    mask: Tensor  # (b, n), True = real

    def __getitem__(self, index: Tensor) -> TextCache:
        vector, memory = (None if each is None else each[index] for each in (self.vector, self.memory))
        return TextCache(vector, [(k[index], v[index]) for k, v in self.keys_values], memory, self.mask[index])


class ModulatedBlock(nn.Module):
    """Cross-attention to the text and an MLP, each added to x `(b, 1, width)`; at first nothing is."""

    def __init__(self, config: VectorNetworkConfig, embedding_features: int) -> None:
        super().__init__()
        d = config.width
        self.cross = CrossAttention(d, config.heads, d // config.heads, embedding_features)
        self.modulation = nn.Linear(d, 3 * d)
        self.up, self.down = Linear(d, config.mlp * d), Linear(config.mlp * d, d)
        for weight in (self.cross.to_out.weight, self.modulation.weight, self.modulation.bias, self.down.weight, self.down.bias):
            nn.init.zeros_(weight)
        with torch.no_grad():
            self.modulation.bias[2 * d :] = 1.0  # the gate: what it lets through is 0 at first

    def forward(self, x: Tensor, vector: Tensor, keys_values: KeysValues, mask: Tensor) -> Tensor:
        scale, shift, gate = self.modulation(vector)[:, None].chunk(3, dim=-1)
        x = self.cross(x, keys_values, mask)
        return x + gate * self.down(F.gelu(self.up(rms_norm(x) * (1 + scale) + shift), approximate="tanh"))


class Modulated(nn.Module):
    def __init__(self, config: VectorNetworkConfig, features: int, embedding_features: int) -> None:
        super().__init__()
        d = config.width
        self.time, self.text, self.enter = FourierTime(d), nn.Linear(embedding_features, d), nn.Linear(features, d)
        self.blocks = nn.ModuleList(ModulatedBlock(config, embedding_features) for _ in range(config.layers))
        self.modulation, self.leave = nn.Linear(d, 2 * d), nn.Linear(d, features)
        for layer in (self.modulation, self.leave):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def row_bytes(self, num_tokens: int) -> int:
        """About the memory of a row: every block's keys and values of the text, once as they are kept and once where rows are picked, and the MLP's features."""
        return self.enter.out_features * (4 * num_tokens * len(self.blocks) + 16) * self.enter.weight.element_size()

    def cache(self, tokens: Tensor, mask: Tensor) -> TextCache:
        return TextCache(self.text(pooled(tokens, mask)), [block.cross.project(tokens) for block in self.blocks], None, mask)

    def forward(self, x: Tensor, t: Tensor, text: TextCache) -> Tensor:
        vector = F.silu(self.time(t).to(x.dtype) + text.vector)
        x, mask = self.enter(x)[:, None], token_mask(text.mask)
        for block, keys_values in zip(self.blocks, text.keys_values, strict=True):
            x = block(x, vector, keys_values, mask)
        scale, shift = self.modulation(vector).chunk(2, dim=-1)
        return self.leave(rms_norm(x[:, 0]) * (1 + scale) + shift)


class Decoder(nn.Module):
    def __init__(self, config: VectorNetworkConfig, features: int, embedding_features: int) -> None:
        super().__init__()
        d = config.width
        self.time_scale = config.time_scale
        self.enter, self.text, self.time = nn.Linear(features, d), nn.Linear(embedding_features, d), nn.Linear(d, d)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(d, config.heads, config.mlp * d, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
            for _ in range(config.layers)
        )
        self.norm, self.leave = nn.LayerNorm(d), nn.Linear(d, features)

    def row_bytes(self, num_tokens: int) -> int:
        """About the memory of a row: the text as it is kept, where rows are picked, and one layer's keys and values of it with what they are made of."""
        return self.enter.out_features * (6 * num_tokens + 16) * self.enter.weight.element_size()

    def cache(self, tokens: Tensor, mask: Tensor) -> TextCache:
        return TextCache(None, [], self.text(tokens), mask)

    def forward(self, x: Tensor, t: Tensor, text: TextCache) -> Tensor:
        half = self.time.in_features // 2
        angles = self.time_scale * t[:, None] * torch.exp(-math.log(PERIODS) / half * torch.arange(half, device=t.device))
        x = (self.enter(x) + self.time(torch.cat([angles.sin(), angles.cos()], dim=-1).to(x.dtype)))[:, None]
        for layer in self.layers:
            x = layer(x, text.memory, memory_key_padding_mask=~text.mask)
        return self.leave(self.norm(x[:, 0]))


NETWORKS = {"modulated": Modulated, "decoder": Decoder}
