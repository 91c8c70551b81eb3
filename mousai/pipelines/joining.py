"""Where a piece goes on from a recording: the level at which the model hears it, and one loudness on both sides of the join.

A model makes music of the level that it was shown, whatever it goes on from. So it hears the end of a recording at that level,
and what it makes gets the gain that brings its beginning to the loudness of the recording's end: for the join itself by the
seconds beside it, from there on by a few more, in which there are notes and rests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mousai.audio.level import QUIET, level_gain, rms_of
from mousai.audio.loudness import measure

NEAR_SECONDS, FAR_SECONDS = 1.0, 4.0  # on either side, by which the gain is found
MOST_DB = 18.0
QUIETEST_END = 0.1  # of a recording's level: an end that has faded out further is not brought up to what is music


@dataclass(frozen=True)
class Lead:
    """What a piece goes on from: the last audio `(c, s)` of a recording and the rms of all of it, see `Rendering.lead_samples`."""

    audio: Tensor
    rms: float

    def gain(self, rms: float | None) -> float:
        """The factor that brings the end of the recording to the level `rms` that a model knows."""
        return level_gain(max(rms_of(self.audio), QUIETEST_END * self.rms), rms)


def gains_after(recording: Tensor, new: Tensor, sample_rate: int) -> tuple[float, float]:
    """By how many dB the end of a recording `(c, s)` is louder than the beginning of what goes on from it: right at the join, and around it."""
    near, far = (_louder(recording[:, -count:], new[:, :count], sample_rate) for count in (round(NEAR_SECONDS * sample_rate), round(FAR_SECONDS * sample_rate)))
    far = (0.0 if near is None else near) if far is None else far
    return far if near is None else near, far


def _louder(a: Tensor, b: Tensor, sample_rate: int) -> float | None:
    """By how many LU, within bounds; None where one is quiet, or nothing."""
    if min(a.shape[-1], b.shape[-1]) == 0 or min(rms_of(a), rms_of(b)) <= QUIET:
        return None
    difference = measure([a], sample_rate, len(a)).integrated_lufs - measure([b], sample_rate, len(b)).integrated_lufs
    return max(-MOST_DB, min(MOST_DB, difference)) if math.isfinite(difference) else None


def gain_from(first: int, count: int, gains_db: tuple[float, float], sample_rate: int) -> Tensor:
    """The factors of so many samples from number `first` after the join on: from the gain at the join to that around it, linear in dB."""
    seconds = np.arange(first, first + count) / sample_rate
    return torch.from_numpy(10 ** (np.interp(seconds, (NEAR_SECONDS / 2, FAR_SECONDS / 2), gains_db) / 20)).float()
