"""Fundamental Music Embedding: numbers such as pitch, duration and onset as waves (Guo et al., arXiv 2212.00973, equation 1).

The distance of two embedded numbers depends on their difference alone: a step is a step wherever it is taken.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def fundamental(values: Tensor, features: int, base: float) -> Tensor:
    """`(…, features)` of numbers `(…)`: sines and cosines of angular frequency `base ** (-2k / features)`, k from 0 on."""
    frequencies = base ** (-2 * torch.arange(features // 2, dtype=values.dtype, device=values.device) / features)
    angles = values[..., None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


class FundamentalEmbedding(nn.Module):
    """Whole numbers from 0 below `classes` embedded as waves, with a learned shift, in `features` numbers each."""

    def __init__(self, classes: int, features: int, base: float) -> None:
        super().__init__()
        if features % 2 or base <= 1:
            raise ValueError(f"expected an even number of features and a base above 1, came {features} and {base}")
        self.register_buffer("waves", fundamental(torch.arange(classes, dtype=torch.float64), features, base).float(), persistent=False)
        self.shift = nn.Parameter(torch.zeros(features))

    def forward(self, values: Tensor) -> Tensor:
        return self.waves[values] + self.shift
