"""Do two sets of clips come from one distribution? Maximum mean discrepancy (Gretton et al., JMLR 13, 2012), by permutation.

With a Gaussian kernel as wide as the median distance within the reference, as KAD has it (arXiv 2502.15602): unbiased, so
that its value does not depend on how many clips there are, and p needs no theory.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

PERMUTATIONS = 2000


@dataclass(frozen=True)
class TwoSample:
    """The squared discrepancy of two sets, 0 on average for sets of one distribution; and how it compares with chance."""

    discrepancy: float
    by_chance: float  # 95 % of the divisions of all clips into two such sets have less
    p: float  # share of them that have as much
    clips: int
    reference_clips: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def two_sample(features: Tensor, reference: Tensor, seed: int = 0) -> TwoSample:
    """Whether `features (n, f)` and those of a `reference (m, f)`, all of like scale, are of one distribution; at least two of each."""
    n, m = len(features), len(reference)
    if min(n, m) < 2:
        raise ValueError(f"expected two clips or more on both sides, came {n} and {m}")
    both = torch.cat([features, reference]).double()
    distances = torch.cdist(both, both)
    width = distances[n:, n:][~torch.eye(m, dtype=torch.bool)].median().clamp(min=1e-12)
    kernel = torch.exp(-distances.square() / (2 * width**2)).fill_diagonal_(0.0)
    generator = torch.Generator().manual_seed(seed)
    first = torch.stack([torch.randperm(n + m, generator=generator) < n for _ in range(PERMUTATIONS)]).double()
    first = torch.cat([(torch.arange(n + m) < n).double()[None], first])
    within = (first @ kernel * first).sum(1), ((1 - first) @ kernel * (1 - first)).sum(1)
    across = (first @ kernel * (1 - first)).sum(1)
    found = within[0] / (n * (n - 1)) + within[1] / (m * (m - 1)) - 2 * across / (n * m)
    here, moved = found[0].item(), found[1:]
    p = (1 + (moved >= here).sum().item()) / (1 + PERMUTATIONS)
    return TwoSample(here, torch.quantile(moved, 0.95).item(), p, n, m)
