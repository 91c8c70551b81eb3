"""Diffusion time as features: a-unet's `NumberEmbedder` and its time MLP, whose two layers are one and the same."""

from __future__ import annotations

from math import pi

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TimeEmbedding(nn.Module):
    """Times to features: t and learned Fourier frequencies of it, then one and the same linear layer twice.

    Always in float32: bfloat16 cannot tell neighbouring steps of a schedule apart.
    """

    def __init__(self, features: int, frequencies: int = 128) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(frequencies))
        self.to_out = nn.Linear(2 * frequencies + 1, features)
        self.mlp = nn.Linear(features, features)

    def forward(self, t: Tensor) -> Tensor:
        """Features `(b, modulation_features)`, activated for the modulation layers, of times `(b,)`."""
        with torch.autocast(t.device.type, enabled=False):
            angles = t[:, None] * self.weights.float() * 2 * pi
            x = torch.cat([t[:, None], angles.sin(), angles.cos()], dim=-1)
            x = F.gelu(F.linear(x, self.to_out.weight.float(), self.to_out.bias.float()))
            for _ in range(2):
                x = F.gelu(F.linear(x, self.mlp.weight.float(), self.mlp.bias.float()))
            return F.silu(x)
