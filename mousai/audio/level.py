"""The level of audio, its root mean square, and what brings it to another: one rule for training, caches, generation and evaluation.

What is no louder than `SILENT` stays as it is: there is nothing in it whose level could be meant. What is below `QUIET`
can be brought to a level, but says little of music; whoever draws or compares places takes others.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor

SILENT = 1e-4  # -80 dB below full scale
QUIET = 1e-3


def rms_of(audio: Tensor) -> float:
    """The root mean square of audio `(c, s)`, over its channels and samples."""
    return float(audio.square().mean().sqrt())


def rms_of_blocks(blocks: Iterable[Tensor]) -> float:
    """The root mean square of audio that comes in blocks `(c, s)`."""
    power, count = 0.0, 0
    for block in blocks:
        power += float(block.double().square().sum())
        count += block.numel()
    return math.sqrt(power / max(1, count))


def level_gain(level: float, rms: float | None) -> float:
    """The factor that brings audio of root mean square `level` to `rms`; 1 where there is no `rms`, and for silence."""
    return rms / level if rms and level > SILENT else 1.0


def at_level(audio: Tensor, rms: float | None) -> Tensor:
    """Audio `(c, s)` brought to `rms`; as it is where there is no `rms`, and for silence."""
    return audio * level_gain(rms_of(audio), rms)


def at_rms(audio: Tensor, rms: float = 0.1) -> Tensor:
    """Audio `(..., c, s)`, each item brought to `rms` over its channels and samples; silence stays as it is."""
    power = audio.square().mean((-2, -1), keepdim=True)
    return torch.where(power > SILENT**2, audio * rms * power.clamp(min=SILENT**2).rsqrt(), audio)
