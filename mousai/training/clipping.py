"""ZClip: gradients are clipped where their norm stands out from those before ("ZClip: Adaptive Spike Mitigation", arXiv 2504.02507).

Limits follow from the steps before alone, and a step whose gradient was clipped counts with the clipped norm; the published pseudocode counts
a spike before it is judged, which raises the limit that it is judged by.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

WARMUP = 25  # steps of which the first statistics are made
ALPHA = 0.97  # what is kept of the statistics at each step after these


@dataclass
class ZClip:
    """Running mean and variance of gradient norms; the limit is `z` standard deviations above the mean."""

    z: float
    count: int = 0
    mean: float = 0.0
    variance: float = 0.0

    @property
    def limit(self) -> float:
        """The largest norm of the next step's gradient; infinite for the first `WARMUP` steps."""
        return self.mean + self.z * math.sqrt(self.variance) if self.count >= WARMUP else math.inf

    def update(self, norm: float) -> None:
        """Counts a step's norm, as it was after clipping."""
        norm = min(norm, self.limit)
        self.count += 1
        share = 1 / self.count if self.count <= WARMUP else 1 - ALPHA
        step = norm - self.mean
        self.mean += share * step
        self.variance = (1 - share) * (self.variance + share * step * step)
