"""Diffusion time as features: a-unet's `NumberEmbedder` and its time MLP, whose two layers are one and the same; and plain ones."""

from __future__ import annotations

from math import log, pi

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


class FourierTime(nn.Module):
    """Times to features of unit scale: sines and cosines of fixed rates, then two linear layers. In float32, as above."""

    RATES, FASTEST = 64, 1000.0  # radians from t = 0 to 1; the slowest is 1

    def __init__(self, features: int) -> None:
        super().__init__()
        self.hidden, self.to_out = nn.Linear(2 * self.RATES, features), nn.Linear(features, features)
        for layer in (self.hidden, self.to_out):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def forward(self, t: Tensor) -> Tensor:
        """Features `(b, features)` of times `(b,)`."""
        with torch.autocast(t.device.type, enabled=False):
            angles = t[:, None] * torch.exp(torch.linspace(0, log(self.FASTEST), self.RATES, device=t.device))
            x = torch.cat([angles.sin(), angles.cos()], dim=-1)
            x = F.silu(F.linear(x, self.hidden.weight.float(), self.hidden.bias.float()))
            return F.linear(x, self.to_out.weight.float(), self.to_out.bias.float())
