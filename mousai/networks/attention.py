"""Attention over latent frames and over condition tokens, through `scaled_dot_product_attention`.

The architecture and the parameters' meaning are those of a-unet's `Attention` (pre-norm, queries and keys-and-values
from separate norms, no biases, residual), without its full `(l, l)` matrix and with a mask for padded tokens.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mousai.networks.linear import Linear


def split_heads(x: Tensor, heads: int) -> Tensor:
    """`(b, n, heads * d)` to `(b, heads, n, d)`."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def token_mask(mask: Tensor) -> Tensor:
    """A boolean mask `(b, n)`, True = real, in the shape that attention broadcasts over heads and queries."""
    return mask[:, None, None, :]  # (b, 1, 1, n)


class SelfAttention(nn.Module):
    """x + attention of `x (b, l, d)` to itself, `heads` heads of `head_features`."""

    def __init__(self, features: int, heads: int, head_features: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(features)
        self.norm_context = nn.LayerNorm(features)
        self.to_q = Linear(features, heads * head_features, bias=False)
        self.to_kv = Linear(features, 2 * heads * head_features, bias=False)
        self.to_out = Linear(heads * head_features, features, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q = split_heads(self.to_q(self.norm(x)), self.heads)
        k, v = (split_heads(y, self.heads) for y in self.to_kv(self.norm_context(x)).chunk(2, dim=-1))
        out = F.scaled_dot_product_attention(q, k, v)  # (b, heads, l, d)
        return x + self.to_out(out.transpose(1, 2).flatten(2))


class CrossAttention(nn.Module):
    """x + attention of `x (b, l, d)` to condition tokens, whose keys and values `project` gives once for a prompt."""

    def __init__(self, features: int, heads: int, head_features: int, token_features: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(features)
        self.norm_context = nn.LayerNorm(token_features)
        self.to_q = Linear(features, heads * head_features, bias=False)
        self.to_kv = Linear(token_features, 2 * heads * head_features, bias=False)
        self.to_out = Linear(heads * head_features, features, bias=False)

    def project(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, each `(b, heads, n, d)`, of tokens `(b, n, e)`."""
        k, v = self.to_kv(self.norm_context(tokens)).chunk(2, dim=-1)
        return split_heads(k, self.heads), split_heads(v, self.heads)

    def forward(self, x: Tensor, keys_values: tuple[Tensor, Tensor], mask: Tensor | None = None) -> Tensor:
        """`mask` is boolean and broadcasts to `(b, heads, l, n)`; a row without one real token attends to nothing."""
        k, v = (y.expand(x.shape[0], -1, -1, -1) for y in keys_values)
        q = split_heads(self.to_q(self.norm(x)), self.heads)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return x + self.to_out(out.transpose(1, 2).flatten(2))
