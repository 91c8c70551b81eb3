"""Putting a new stretch of audio into a recording so that the joins cannot be heard.

What a codec returns differs from what it was given in level and in phase. The level is measured where both are known,
beside the joins, and made up for; at the joins the old is faded into the new at constant power for whatever
correlation the two have there: amplitudes for equal signals, powers for unrelated ones.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mousai.audio.level import QUIET

FADE_SECONDS = 0.03
LEVEL_SECONDS = 0.5  # beside a join, over which levels are compared
LARGEST_GAIN_DB = 9.0


def splice(recording: Tensor, new: Tensor, start: int, stop: int, sample_rate: int) -> Tensor:
    """`recording` `(..., c, s)` with the samples start … stop - 1 from `new` of the same shape.

    Outside, every sample is the recording's own. The crossfades lie inside, at both ends, but for an end of the
    recording; there the new audio runs to the end.
    """
    if recording.shape != new.shape or not 0 <= start < stop <= recording.shape[-1]:
        shapes = f"{tuple(recording.shape)} and {tuple(new.shape)}"
        raise ValueError(f"expected equal shapes (…, c, s) and 0 <= start < stop <= s, came {shapes}, {start} and {stop}")
    middle = new[..., start:stop] * gains(recording, new, start, stop, sample_rate)
    old, width = recording[..., start:stop], min(round(FADE_SECONDS * sample_rate), (stop - start) // 2)
    if start > 0 and width:
        middle[..., :width] = crossfade(old[..., :width], middle[..., :width])
    if stop < recording.shape[-1] and width:
        middle[..., -width:] = crossfade(middle[..., -width:], old[..., -width:])
    return torch.cat([recording[..., :start], middle, recording[..., stop:]], dim=-1)


def gains(recording: Tensor, new: Tensor, start: int, stop: int, sample_rate: int) -> Tensor:
    """Factors `(..., 1, stop - start)` that bring the new audio's level beside the joins to the recording's.

    Linear in dB from one join to the other; that of the other join where one has no neighbour or a quiet one.
    """
    reach = round(LEVEL_SECONDS * sample_rate)
    before = level_difference(recording[..., max(0, start - reach) : start], new[..., max(0, start - reach) : start])
    after = level_difference(recording[..., stop : stop + reach], new[..., stop : stop + reach])
    before, after = torch.where(before.isnan(), after, before), torch.where(after.isnan(), before, after)
    way = torch.linspace(0, 1, stop - start, device=new.device)
    decibels = (before + (after - before) * way).nan_to_num(0.0)
    return 10 ** (decibels / 20)


def level_difference(recording: Tensor, new: Tensor) -> Tensor:
    """By how many dB `(..., 1, 1)` the recording is louder over all channels, within bounds; NaN where one is quiet."""
    if recording.shape[-1] == 0:
        return torch.full((*recording.shape[:-2], 1, 1), math.nan, device=new.device)
    a, b = (x.float().square().mean((-2, -1), keepdim=True).sqrt() for x in (recording, new))
    decibels = (20 * torch.log10(a / b)).clamp(-LARGEST_GAIN_DB, LARGEST_GAIN_DB)
    return torch.where((a > QUIET) & (b > QUIET), decibels, math.nan)


def crossfade(a: Tensor, b: Tensor) -> Tensor:
    """From a to b, both `(..., c, s)`, at constant power: with weights p, q and correlation r, p² + q² + 2 r p q = 1."""
    width = a.shape[-1]
    rise = (torch.arange(width, device=a.device, dtype=torch.float32) + 0.5) / width
    power = a.square().sum(-1, keepdim=True) * b.square().sum(-1, keepdim=True)
    r = ((a * b).sum(-1, keepdim=True) / power.clamp(min=1e-20).sqrt()).clamp(0, 1)
    norm = ((1 - rise).square() + rise.square() + 2 * r * rise * (1 - rise)).sqrt()
    return (a * (1 - rise) + b * rise) / norm
