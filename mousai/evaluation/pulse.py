"""The beat of a clip: how clear it is, how well a tempo fits it, and which tempo fits best.

All of it is read from the autocorrelation of how much the log-mel spectrum rises from frame to frame (onset strength):
1 where the clip comes again after so long as it was, 0 where nothing does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from mousai.audio.level import at_rms
from mousai.audio.spectral import log_mel

FRAMES_A_SECOND = 93.75  # of the onset strength, at any sample rate
WINDOW_SECONDS = 0.0427
LEAST_FRAMES = 16
NEGLIGIBLE_DB = 0.05  # spread of an onset strength in which there is no beat
EDGE_FRAMES = 4  # left out at both ends: there the clip itself begins and ends
LOCAL_SECONDS = 1.0  # over which the onset strength's own mean is taken away
FINER = 8  # places between two frames at which the autocorrelation is known
LONGEST_SECONDS = 6.0
USABLE = 0.75  # of a clip: at longer lags too little of it lies on itself
PULSE_SECONDS = (0.3, 1.0)  # 200 to 60 beats a minute
NEAR_ASKED = 0.02  # how far from a tempo its pulse is looked for
TEMPOS = torch.logspace(math.log10(50), math.log10(200), 141, dtype=torch.float64)  # a hundredth apart
BEATS = 4  # so many beats on, the clip is like itself
USUAL_BPM, USUAL_OCTAVES = 115, 1.2  # of two tempos that fit alike, the one that people tap
TOLERANCE = 0.04  # within which a tempo is met
OCTAVES, THIRDS = (1 / 2, 1, 2), (1 / 3, 2 / 3, 3 / 2, 3)


@dataclass(frozen=True)
class Pulse:
    """The autocorrelation `(lags,)` of a clip's onset strength, 1 at lag 0; what is asked of it are seconds or beats a minute."""

    curve: Tensor

    @property
    def clarity(self) -> float:
        """The largest autocorrelation at 60 to 200 beats a minute; NaN for a clip too short for it."""
        return self._most(*PULSE_SECONDS)

    def at(self, bpm: float) -> float:
        """The largest autocorrelation a beat of this tempo on, within 2 %; NaN where the clip is too short."""
        return self._most(60 / bpm * (1 - NEAR_ASKED), 60 / bpm * (1 + NEAR_ASKED))

    def elsewhere(self, bpm: float) -> float:
        """The mean of `at` over tempos from 50 to 200 that are neither this one nor an octave or a third from it."""
        others = [self.at(other) for other in TEMPOS[::4].tolist() if relation(other, bpm, 3 * NEAR_ASKED) is None]
        return torch.tensor(others).nanmean().item()

    @cached_property
    def tempo(self) -> float:
        """Beats a minute, 50 to 200: where the mean autocorrelation one to four beats on is largest; NaN where there is none."""
        lags = self._place(60 / TEMPOS)[:, None] * torch.arange(1, BEATS + 1)
        there = lags.round().long().clamp(max=len(self.curve) - 1)
        fit = self.curve[there].masked_fill(lags > len(self.curve) - 1, torch.nan).nanmean(1)
        usual = torch.exp(-0.5 * ((TEMPOS / USUAL_BPM).log2() / USUAL_OCTAVES) ** 2)
        fit = (fit * usual).nan_to_num(-torch.inf)
        return TEMPOS[fit.argmax()].item() if fit.max() > 0 else math.nan

    def _most(self, shortest: float, longest: float) -> float:
        first, last = (round(float(self._place(seconds))) for seconds in (shortest, longest))
        return self.curve[first : last + 1].max().clamp(max=1.0).item() if last < len(self.curve) else math.nan

    def _place(self, seconds: float | Tensor) -> float | Tensor:
        return seconds * FRAMES_A_SECOND * FINER


def pulse_of(audio: Tensor, sample_rate: int) -> Pulse:
    """The pulse of audio `(c, s)`; ValueError for less than a quarter of a second."""
    strength = onset_strength(audio, sample_rate)[EDGE_FRAMES:-EDGE_FRAMES]
    if len(strength) < LEAST_FRAMES:
        raise ValueError(f"expected at least a quarter of a second, came {audio.shape[-1] / sample_rate:.2f} s")
    return Pulse(autocorrelation(strength))


def onset_strength(audio: Tensor, sample_rate: int) -> Tensor:
    """How much the log-mel spectrum of audio `(c, s)` rises from frame to frame, in dB: `(l - 1,)`, 93.75 a second."""
    n_fft = 2 ** round(math.log2(WINDOW_SECONDS * sample_rate))
    levels = log_mel(at_rms(audio.float()), sample_rate, n_fft=n_fft, hop=round(sample_rate / FRAMES_A_SECOND))
    return levels.diff(dim=-1).clamp(min=0).mean((0, 1))


def autocorrelation(strength: Tensor) -> Tensor:
    """Of an onset strength `(l,)` less its local mean: 1 at lag 0, up to 6 s or three quarters of it, `FINER` places a frame.

    As unbiased as a sum over fewer and fewer products can be: each lag's sum is divided by their number.
    """
    strength = strength.double()
    smooth = (strength[1:] + strength[:-1]) / 2
    width = min(2 * round(LOCAL_SECONDS * FRAMES_A_SECOND / 2) + 1, 2 * ((len(smooth) - 1) // 2) - 1)
    padded = F.pad(smooth[None, None], (width // 2, width // 2), mode="reflect")
    change = smooth - F.avg_pool1d(padded, width, 1)[0, 0]
    length, padding = len(change), 4 * len(change)
    power = torch.fft.rfft(change, padding).abs().square()
    lags = int(min(LONGEST_SECONDS * FRAMES_A_SECOND, USABLE * length) * FINER)
    products = torch.fft.irfft(power, padding * FINER)[:lags] * FINER
    pairs = length - torch.arange(lags) / FINER
    return products / products[0].clamp(min=NEGLIGIBLE_DB**2 * length) * length / pairs


def relation(bpm: float, asked: float, tolerance: float = TOLERANCE) -> str | None:
    """How a tempo answers to the one that was asked for: "same", "octave", "third" (of 3:2 or 3:1), or None for none of these."""
    if math.isnan(bpm):
        return None

    def near(ratio: float) -> bool:
        return abs(math.log(bpm / (asked * ratio))) < math.log1p(tolerance)

    if near(1):
        return "same"
    if any(map(near, OCTAVES)):
        return "octave"
    return "third" if any(map(near, THIRDS)) else None
