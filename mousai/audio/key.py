"""The key of a recording: its pitch classes by the peaks of its spectrum, and the key whose profile they follow most.

Profiles: Albrecht and Shanahan, "The use of large corpora to train a new type of key-finding algorithm" (Music Perception
31, 2013), table 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mousai.audio.spectral import in_blocks, stft_magnitude
from mousai.theory import MODES, key_name

RATE = 22050  # at which audio is listened to
N_FFT, HOP = 8192, 1024
LOW_HZ, HIGH_HZ = 65.0, 2100.0
STANDS_OUT = 1.5  # times the mean magnitude around it, of a peak
AROUND = 41  # bins
FINE = 12  # parts of a semitone in which pitches are told apart before the tuning is known
PROFILES = {
    "major": (0.238, 0.006, 0.111, 0.006, 0.137, 0.094, 0.016, 0.214, 0.009, 0.080, 0.008, 0.081),
    "minor": (0.220, 0.006, 0.104, 0.123, 0.019, 0.103, 0.012, 0.214, 0.062, 0.022, 0.061, 0.052),
}


@dataclass(frozen=True)
class Key:
    """The likeliest key, how much its profile correlates with the pitch classes, and by how much less the next one does."""

    name: str
    correlation: float
    margin: float


def pitch_classes(audio: Tensor) -> Tensor:
    """Magnitude of each pitch class `(12, 1 + s // HOP)` in audio `(s,)` at `RATE`, C first, as the recording is tuned."""
    fine = in_blocks(audio.float(), HOP, lambda part: fine_pitches(stft_magnitude(part, N_FFT, HOP)), block_frames=512)
    steps = torch.arange(12 * FINE) / FINE
    off = float(torch.angle((fine.sum(1) * torch.exp(2j * math.pi * steps)).sum())) / (2 * math.pi)  # of a semitone, that it is tuned higher
    pitch = steps - off
    near = torch.zeros(12, len(steps))
    near[pitch.round().long() % 12, torch.arange(len(steps))] = torch.cos(math.pi * (pitch - pitch.round())).square()
    return near @ fine


def fine_pitches(magnitude: Tensor) -> Tensor:
    """The magnitudes of a spectrum's peaks by their pitch in an octave of `FINE` steps a semitone, `(12 * FINE, l)`, for `(N_FFT // 2 + 1, l)`."""
    around = torch.nn.functional.avg_pool1d(magnitude.T[:, None], AROUND, 1, AROUND // 2)[:, 0].T
    left, middle, right = magnitude[:-2], magnitude[1:-1], magnitude[2:]
    bins, frames = ((middle > left) & (middle >= right) & (middle > STANDS_OUT * around[1:-1]) & (middle > 1e-6)).nonzero(as_tuple=True)
    left, middle, right = (each[bins, frames].clamp(min=1e-9).log() for each in (left, middle, right))
    hertz = (bins + 1 + 0.5 * (left - right) / (left - 2 * middle + right).clamp(max=-1e-9)) * RATE / N_FFT  # between bins by a parabola
    heard = (hertz > LOW_HZ) & (hertz < HIGH_HZ)
    step = ((12 * (hertz[heard] / 440).log2() + 69) * FINE).round().long() % (12 * FINE)
    place = step * magnitude.shape[1] + frames[heard]
    return torch.zeros(12 * FINE * magnitude.shape[1]).index_add_(0, place, middle[heard].exp()).view(12 * FINE, -1)


def hear_key(pitches: Tensor) -> Key | None:
    """The key of pitch classes `(12, l)`; None where there are none."""
    mean = pitches.sqrt().mean(1)
    if not mean.any():
        return None
    mean = mean - mean.mean()
    found = []
    for mode in MODES:
        profile = torch.tensor(PROFILES[mode])
        profile = profile - profile.mean()
        for root in range(12):
            alike = float(torch.dot(mean, profile.roll(root)) / (mean.norm() * profile.norm()).clamp(min=1e-9))
            found.append((alike, root, mode))
    found.sort(reverse=True)
    (best, root, mode), (second, *_) = found[:2]
    return Key(key_name(root, mode), best, best - second)
