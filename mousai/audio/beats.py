"""Where the beats of a recording lie: strength of onsets, tempo, beats by dynamic programming, a steady grid through them, bars.

The tracker is that of Ellis, "Beat tracking by dynamic programming" (J. New Music Research 36, 2007): the beats are the
sequence of times that has the most onset strength at them and intervals nearest to the tempo's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mousai.audio.key import RATE
from mousai.audio.spectral import in_blocks, mel_filterbank, stft_magnitude
from mousai.theory import METRES

N_FFT, HOP = 1024, 256
FPS = RATE / HOP
BASS_HZ = 150.0
SLOWEST, FASTEST = 50.0, 210.0  # beats a minute that are looked for
LIKELY_BPM, OCTAVES = 125.0, 0.9  # of tempos that fit alike the likeliest, and the standard deviation about it
NEAR = 0.06  # how far from a tempo that is said, of itself, one is looked for
TIGHTNESS = 400.0  # what it costs to come early or late
REACH = 0.06  # seconds around a beat in which its onset is looked for
STEADY = 0.018  # seconds, root mean square, by which onsets lie off a steady grid at most
SAME_STRENGTH = 0.8  # of what is at the tracked beats, that a steady grid has to have
EVEN = 0.3  # up to so clear a beat and what is halfway to the next are alike
LATE = 0.013  # seconds by which the rise of a frame's level comes before the onset: of clicks, whatever their tempo
FEWEST = 8  # beats that can be called such
LONGEST_GAP = 60 / 25  # seconds between two beats
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Beats:
    """The beats of a recording in seconds, and what they come to.

    Where they are `steady` they are 60 / `bpm` apart, else that is their median; `bars` of them make a bar, of which the beat
    of number `first` begins one; `triple`: each is divided in three. `clear` is how much more begins at them than halfway
    between them, in standard deviations of the onset strength, `bars_clear` by how many standard errors downbeats stand out.
    """

    times: tuple[float, ...]
    bpm: float
    steady: bool
    clear: float
    bars: int
    first: int
    triple: bool
    bars_clear: float
    tracked: bool = False

    @property
    def metre(self) -> str:
        """As of `theory.METRES`."""
        return {(True, 2): "6/8", (True, 4): "12/8", (False, 3): "3/4", (False, 2): "2/4"}.get((self.triple, self.bars), "4/4")

    @property
    def downbeats(self) -> tuple[float, ...]:
        return self.times[self.first :: self.bars]


def hear_beats(audio: Tensor, pitches: Tensor, bpm: float | None = None, metre: str | None = None) -> Beats | None:
    """The beats of audio `(s,)` at `RATE` with the pitch classes `(12, l)` that audio/key.py hears in it; None where hardly any are.

    A tempo or metre that is known narrows what is looked for.
    """
    everywhere, bass = (normalised(each) for each in onset_strengths(audio))
    if not everywhere.any():
        return None
    onset = (everywhere + bass) / (everywhere + bass).std()  # without the bass house has its beat on the hi-hats
    period = likely_period(onset, bpm)
    found = grid_of(onset, period)
    if bpm is None and found is not None and found.clear < EVEN and 120 * FPS / period <= FASTEST:
        found = grid_of(onset, period / 2)  # what is halfway is as strong: which is the beat nobody can tell, so that both are
    if found is None:
        return None
    beats, spaces = found.beats, np.diff(found.beats)
    thirds = min(strength_at(onset, beats[:-1] + spaces * share).mean() for share in (1 / 3, 2 / 3))
    triple = bool(thirds > strength_at(onset, beats[:-1] + spaces / 2).mean()) if metre is None else metre in ("6/8", "12/8")
    accents = standard(strength_at(bass, beats)) + standard(changes_at(pitches, beats / len(onset) * pitches.shape[-1]))
    ways = ((2, 4) if triple else (3, 4)) if metre is None else (METRES[metre],)
    bars, downbeat, bars_clear = bar_of(accents, ways)
    times = tuple(float(round(beat / FPS + LATE, 4)) for beat in beats)
    return Beats(times, 60 * FPS / float(np.median(spaces)), found.steady, found.clear, bars, downbeat, triple, bars_clear)


@dataclass(frozen=True)
class Tracked:
    """Beats in frames, see `Beats`."""

    beats: Array
    steady: bool
    clear: float


def grid_of(onset: Array, period: float) -> Tracked | None:
    """The beats about `period` frames apart: a steady grid where onsets hardly lie off it; None for too few."""
    tracked = track(onset, period)
    if len(tracked) < FEWEST:
        return None
    period, first, off = steady_grid(onset, tracked)
    beats = first + period * np.arange(math.ceil(-first / period), math.floor((len(onset) - 1 - first) / period) + 1)
    steady = off <= STEADY * FPS and strength_at(onset, beats).mean() > SAME_STRENGTH * strength_at(onset, tracked).mean()
    beats = beats if steady else peaks_near(onset, tracked, 2)[0]
    clear = strength_at(onset, beats[:-1]).mean() - strength_at(onset, beats[:-1] + np.diff(beats) / 2).mean()
    return Tracked(beats, bool(steady), float(clear))


def onset_strengths(audio: Tensor, bands: int = 80) -> tuple[Array, Array]:
    """How much begins in each frame of audio `(s,)` at `RATE`, in all and below 150 Hz: mean rise in dB of mel bands, `(1 + s // HOP,)`."""
    filters, hertz = mel_filterbank(RATE, N_FFT, bands), torch.arange(N_FFT // 2 + 1) * RATE / N_FFT
    low = ((hertz > 20) & (hertz < BASS_HZ)).float()
    filters = torch.cat([filters, low[None] / low.sum()])
    power = in_blocks(audio.float(), HOP, lambda part: filters @ stft_magnitude(part, N_FFT, HOP).square())
    levels = 10 * power.clamp(min=1e-10).log10()
    levels = levels.maximum(levels[:-1].amax() - 80)
    rise = levels.diff(dim=-1, prepend=levels[:, :1]).clamp(min=0).double()
    return rise[:-1].mean(0).numpy(), rise[-1].numpy()


def normalised(onset: Array) -> Array:
    """Onset strength above its mean over 2 s, of unit standard deviation; zeros where nothing begins."""
    width = round(2 * FPS) | 1
    local = np.convolve(np.pad(onset, width // 2, mode="reflect" if len(onset) > width else "edge"), np.full(width, 1 / width), mode="valid")
    above = np.clip(onset - local, 0, None)
    return above / above.std() if above.std() > 0 else above


def autocorrelation(onset: Array, lags: int) -> Array:
    """Of onset strength less its mean, at lags of 0 … `lags` frames, made up for the fewer products at the longer ones; 1 at 0."""
    size = len(onset)
    spectrum = np.fft.rfft(onset - onset.mean(), 2 * size)
    found = np.fft.irfft(np.abs(spectrum) ** 2)[: min(lags + 1, size)]
    found = found / np.maximum(1, size - np.arange(len(found)))
    return np.pad(found / max(found[0], 1e-12), (0, lags + 1 - len(found)))


def likely_period(onset: Array, said: float | None = None) -> float:
    """Frames of a beat: those at one, two and four of which the most returns, weighed by how likely such a tempo is, or near the tempo `said`."""
    found = autocorrelation(onset, math.ceil(4 * 60 * FPS / SLOWEST) + 1)
    low, high = (SLOWEST, FASTEST) if said is None else (max(20.0, said * (1 - NEAR)), said * (1 + NEAR))
    bpm = np.exp(np.linspace(math.log(low), math.log(high), 400))
    period = 60 * FPS / bpm
    at = np.mean([np.interp(period * beats, np.arange(len(found)), found) for beats in (1, 2, 4)], axis=0)
    likely = np.exp(-0.5 * (np.log2(bpm / LIKELY_BPM) / OCTAVES) ** 2) if said is None else 1.0
    return float(period[int(np.argmax(np.clip(at, 0, None) * likely))])


def track(onset: Array, period: float) -> Array:
    """The beats of most onset strength that come about every `period` frames, in frames; the dynamic programming of Ellis."""
    spread = np.exp(-0.5 * (np.arange(-round(period), round(period) + 1) * 32 / period) ** 2)
    local = np.convolve(onset, spread / spread.sum() * (1 + len(spread)) / 8)[round(period) :][: len(onset)]
    near, far = max(1, round(period / 2)), round(2 * period)
    cost = -TIGHTNESS * np.log(np.arange(far, near - 1, -1) / period) ** 2
    score, before = local.copy(), np.full(len(onset), -1)
    for frame in range(near, len(onset)):
        lead = score[max(0, frame - far) : frame - near + 1] + cost[max(0, far - frame) :]
        best = int(np.argmax(lead))
        if lead[best] > 0:
            score[frame] += lead[best]
            before[frame] = max(0, frame - far) + best
    last = len(score) - round(1.5 * period) + int(np.argmax(score[-round(1.5 * period) :])) if len(score) > 1.5 * period else int(np.argmax(score))
    beats = []
    while last >= 0:
        beats.append(last)
        last = before[last]
    return np.array(beats[::-1], dtype=np.float64)


def peaks_near(onset: Array, frames: Array, reach: float) -> tuple[Array, Array]:
    """Where within `reach` frames of each of `frames` the most begins, between frames by a parabola, and how much."""
    offsets = np.arange(-math.floor(reach), math.floor(reach) + 1)
    index = np.clip(np.round(frames)[:, None].astype(int) + offsets, 0, len(onset) - 1)
    best = index[np.arange(len(frames)), np.argmax(onset[index], axis=1)]
    left, middle, right = (onset[np.clip(best + step, 0, len(onset) - 1)] for step in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend < -1e-9, np.clip(0.5 * (left - right) / np.where(bend < -1e-9, bend, -1.0), -0.5, 0.5), 0.0)
    return best + shift, middle


def steady_grid(onset: Array, beats: Array) -> tuple[float, float, float]:
    """Period and first beat in frames of the steady grid nearest to `beats`, and how far the onsets lie off it, root mean square.

    Of two ways to count the beats, each interval by itself and all from the first, it is the one that fits better: one
    survives a tracker that drifts about the beat, the other one that slips off it and back.
    """
    spaces = np.diff(beats) / np.median(np.diff(beats))
    counts = (np.cumsum(np.r_[0, np.round(spaces)]), np.round(np.cumsum(np.r_[0, spaces])))
    return min((fitted(onset, beats, number) for number in counts), key=lambda found: found[2])


def fitted(onset: Array, beats: Array, number: Array) -> tuple[float, float, float]:
    """As `steady_grid`, where `beats` have these numbers in the grid: a line through them, then several times through the onsets near it."""
    period, first = np.polyfit(number, beats, 1)
    for _ in range(4):
        place, strength = peaks_near(onset, first + period * number, REACH * FPS)
        weight, off = np.sqrt(np.clip(strength, 0, 4)) + 1e-3, place - first - period * number
        change = np.polyfit(number, off, 1, w=weight)
        period, first = period + change[0], first + change[1]
    return float(period), float(first), float(np.sqrt(np.average((place - first - period * number) ** 2, weights=weight**2)))


def strength_at(onset: Array, frames: Array) -> Array:
    """The most that begins within 3 frames of each."""
    return peaks_near(onset, frames, 3)[1]


def standard(values: Array) -> Array:
    """Of mean 0 and standard deviation 1."""
    return (values - values.mean()) / max(float(values.std()), 1e-9)


def changes_at(pitches: Tensor, places: Array) -> Array:
    """How much other the pitch classes `(12, l)` of a beat are than those of the beat before, 0 to 1, by the beats' places in l."""
    sums = np.concatenate([np.zeros((12, 1)), np.cumsum(pitches.double().numpy(), axis=1)], axis=1)
    edges = np.clip(np.round(np.r_[places, 2 * places[-1] - places[-2]]).astype(int), 0, pitches.shape[-1])
    within = np.diff(sums[:, edges], axis=1)
    within /= np.maximum(np.linalg.norm(within, axis=0), 1e-9)
    return np.r_[0.0, 1 - (within[:, 1:] * within[:, :-1]).sum(0)]


def bar_of(accents: Array, ways: tuple[int, ...]) -> tuple[int, int, float]:
    """Beats of a bar, of which there are so many `ways`, the first beat that begins one, and how sure that is, of the accents of all beats.

    Of all ways and beginnings it is that whose downbeats stand out most, in standard errors of their mean.
    """
    accents, found = standard(accents), [(0.0, ways[-1], 0)]
    for beats in ways:
        for first in range(beats):
            some = accents[first::beats]
            found.append((float(some.mean()) * math.sqrt(len(some) * beats / (beats - 1)), beats, first))
    clear, beats, first = max(found)
    return beats, first, clear
