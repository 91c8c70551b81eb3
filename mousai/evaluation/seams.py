"""Can the seams of a long piece be heard? What changes across the boundaries of its windows, beside what changes elsewhere.

For each of spectrum, loudness and chroma, a curve tells how far `SIDE_SECONDS` after every place of the piece lie from
as much before it, with the overlap of the windows left out in the middle. Its mean at the boundaries over its mean
elsewhere is 1 where a boundary is like any other place. Why the sides are that long, and what the figures are for
unedited and for cut music: docs/evaluation.md.
"""

from __future__ import annotations

import itertools
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mousai.audio.loudness import k_weighting
from mousai.audio.spectral import chroma, mel_filterbank, stft_magnitude
from mousai.evaluation.joins import change_across, dip_within

HOP_SECONDS = 0.05
STRETCH = 200  # frames looked at together
SIDE_SECONDS = 1.5
MIN_SPACING = 1.25  # seconds; of boundaries nearer to one another no place is far
MAX_BOUNDARIES = 1_000_000
SHIFTS = 2000  # at most, to which the boundaries are moved
BANDS = 40
FLOOR = 1e-8  # of power, -80 dB below full scale: what is less is silence
CURVES = ("spectrum", "loudness", "chroma", "dip")
ROUNDING = (0.01, 0.01, 1e-4)  # dB, dB, shares: added to both sides of a ratio, so that 0 / 0 is 1


@dataclass(frozen=True)
class Boundaries:
    """Where windows meet: boundary i lies at `first` + i × `every` seconds, the middle of `overlap` seconds that both cover."""

    first: float
    every: float
    count: int
    overlap: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.first, self.every, self.count, self.overlap)
        whole = all(isinstance(number, (int, float)) and math.isfinite(number) for number in numbers) and self.count == int(self.count)
        if not whole or self.first <= 0 or self.every < MIN_SPACING or not 0 <= self.count <= MAX_BOUNDARIES or self.overlap < 0:
            raise ValueError(
                f"expected boundaries as first (above 0), every (at least {MIN_SPACING:g} s), count (up to {MAX_BOUNDARIES}) "
                f"and overlap (0 or more); came {', '.join(map(str, numbers))}"
            )

    @property
    def seconds(self) -> list[float]:
        return [self.first + i * self.every for i in range(int(self.count))]

    @classmethod
    def of(cls, metadata: dict[str, Any]) -> Boundaries:
        """Those that the metadata of a rendered piece names; ValueError where they name none."""
        boundaries = metadata.get("boundaries")
        if not isinstance(boundaries, dict) or boundaries.keys() < {"first", "every", "count", "overlap"}:
            raise ValueError("nothing in it says where windows meet; say it with --every")
        if boundaries["count"] == 0:
            raise ValueError("the piece is of one window and has no boundary")
        return cls(*(boundaries[name] for name in ("first", "every", "count", "overlap")))

    @classmethod
    def within(cls, seconds: float, every: float, first: float | None = None, overlap: float = 0.0) -> Boundaries:
        """Those inside a piece of `seconds`, from `first` (`every` unless given) on."""
        first = every if first is None else first
        if first >= seconds:
            raise ValueError(f"a piece of {seconds:g} s has no boundary at {first:g} s or later")
        return cls(first, every, max(0, math.ceil((seconds - first) / every)), overlap)


@dataclass(frozen=True)
class SeamScore:
    """Change at the boundaries over change elsewhere; 95 % of the grids moved elsewhere have a score from `low` to `high`."""

    spectrum: float
    loudness: float
    chroma: float
    boundaries: int  # that were looked at
    dip_db: float  # how far the overlaps lie below both their sides, less how far other places do; no part of the score
    low: float
    high: float
    p: float  # share of the moved grids with a score at least as high

    @property
    def score(self) -> float:
        """The mean of the three; 1 = not to be told from any other place."""
        return (self.spectrum + self.loudness + self.chroma) / 3

    def to_dict(self) -> dict[str, float | int]:
        return {"score": self.score, **asdict(self)}


@dataclass(frozen=True)
class Sight:
    """Frames that are left out before and after a place, and frames that are looked at on both sides of them."""

    gap: int
    width: int

    @property
    def reach(self) -> int:
        """What is looked at around a place this far from a boundary lies on one side of it."""
        return self.gap + self.width


def sight(boundaries: Sequence[float], overlap: float, seconds: float | None = None) -> Sight:
    """What is looked at around boundaries (ascending, in seconds) in a piece of `seconds`, if that is known.

    Half the overlap is left out on each side and `SIDE_SECONDS` are looked at; less where boundaries lie near one
    another, so that a fifth of the places is elsewhere. ValueError for boundaries that nothing can be said about.
    """
    spacing = min((b - a for a, b in itertools.pairwise(boundaries)), default=math.inf)
    if not boundaries or spacing < MIN_SPACING - 1e-9 or not math.isfinite(overlap) or overlap < 0:
        raise ValueError(
            f"expected boundaries at least {MIN_SPACING:g} s apart and an overlap of 0 s or more; "
            f"came {len(boundaries)}, {spacing:g} s apart, with {overlap:g} s"
        )
    frames = min(spacing, 86400) / HOP_SECONDS
    gap = max(1, min(round(overlap / 2 / HOP_SECONDS), int(frames / 5)))
    chosen = Sight(gap, min(round(SIDE_SECONDS / HOP_SECONDS), int(2 * frames / 5) - gap))
    reach = chosen.reach * HOP_SECONDS
    if seconds is not None:
        if boundaries[0] < 0 or boundaries[-1] > seconds:
            raise ValueError(f"boundaries from {boundaries[0]:g} to {boundaries[-1]:g} s do not lie in a piece of {seconds:g} s")
        if not any(reach <= place <= seconds - reach - 2 * HOP_SECONDS for place in boundaries):
            raise ValueError(f"no boundary has {reach:.2f} s of the piece on both sides; it lasts {seconds:g} s")
    return chosen


def seam_score(blocks: Iterable[Tensor], sample_rate: int, boundaries: Sequence[float], *, overlap: float = 0.0) -> SeamScore:
    """How much more spectrum, loudness and chroma change across boundaries than elsewhere in the same piece.

    `blocks` are audio `(c, s)` of any lengths, one after another; how they are cut makes no difference. `boundaries`
    are seconds, ascending, each the middle of `overlap` seconds in which one window gives way to the next. What the
    boundaries' score would be by chance is seen by moving them all, over the piece from half a window before the first
    to half a window after the last. Holds some seconds of audio and four numbers for every 50 ms. ValueError as `sight` says.
    """
    look, hop, num_samples = sight(boundaries, overlap), _hop(sample_rate), 0

    def counted() -> Iterator[Tensor]:
        nonlocal num_samples
        for block in blocks:
            num_samples += block.shape[-1]
            yield block

    found = array("f", [math.nan] * (len(CURVES) * look.reach))  # grows in place; many small tensors would scatter over the memory
    for features in _held(_features(counted(), sample_rate), look.reach):
        found.frombytes(_curves(features, look).numpy().tobytes())
    sight(boundaries, overlap, num_samples / sample_rate)
    curves = torch.frombuffer(found, dtype=torch.float32).view(-1, len(CURVES)).T  # (4, l)
    places = [place for place in (round(b * sample_rate / hop) for b in boundaries) if look.reach <= place < curves.shape[1]]
    return _judged(curves, torch.tensor(places), look)


def _hop(sample_rate: int) -> int:
    return round(HOP_SECONDS * sample_rate)


def _features(blocks: Iterable[Tensor], sample_rate: int) -> Iterator[dict[str, Tensor]]:
    """Frames `(f, l)`, 50 ms each, in stretches of `STRETCH`: log-mel spectrum in dB, K-weighted power, chroma."""
    hop, n_fft = _hop(sample_rate), 2 ** round(math.log2(0.085 * sample_rate))
    reach = -(-n_fft // hop)  # frames beyond which the longer window, of twice n_fft, does not see
    mel, weights = mel_filterbank(sample_rate, n_fft, BANDS), k_weights(sample_rate, n_fft)
    full_scale = 3 / 16 * n_fft**2  # the sum over bins of a Hann window's power, of a signal of mean square 1
    for audio in _stretches(blocks, hop, reach):
        power = stft_magnitude(audio, n_fft, hop)[..., reach:-reach].square() / full_scale  # (c, bins, l)
        yield {
            "spectrum": 10 * (mel @ power).clamp(min=FLOOR).log10().flatten(0, 1),
            "loudness": (weights @ power).sum(0, keepdim=True),
            "chroma": chroma(audio, sample_rate, 2 * n_fft, hop)[..., reach:-reach].flatten(0, 1),
        }


def k_weights(sample_rate: int, n_fft: int) -> Tensor:
    """Power response of the K-weighting (ITU-R BS.1770-4) at the bins of an STFT: `(n_fft // 2 + 1,)`."""
    delay = np.exp(-1j * np.pi * np.arange(n_fft // 2 + 1) / (n_fft // 2))
    response = [np.polyval(section[2::-1], delay) / np.polyval(section[:2:-1], delay) for section in k_weighting(sample_rate)]
    return torch.from_numpy(np.abs(np.prod(response, axis=0)) ** 2).float()


def _stretches(blocks: Iterable[Tensor], hop: int, reach: int) -> Iterator[Tensor]:
    """Audio such that the STFT of a stretch, but for `reach` frames at both ends, has frame i in the middle of the samples from i × `hop` on."""
    pending: list[Tensor] = []
    held = 0

    def taken(frames: int) -> Tensor:
        nonlocal pending, held
        audio = torch.cat(pending, dim=1)
        pending, held = [audio[:, frames * hop :]], held - frames * hop
        return audio[:, : (frames - 1 + 2 * reach) * hop]

    edge = reach * hop - hop // 2
    for block in blocks:
        if block.ndim != 2 or pending and len(block) != len(pending[0]):
            raise ValueError(f"expected blocks (c, s) of one number of channels, came {tuple(block.shape)}")
        if not pending:
            pending, held = [block.new_zeros(len(block), edge)], edge
        pending.append(block)
        held += block.shape[1]
        while held >= (STRETCH - 1 + 2 * reach) * hop:
            yield taken(STRETCH)
    left = (held - edge) // hop
    if left > 0:
        pending.append(pending[0].new_zeros(len(pending[0]), 2 * reach * hop))
        yield taken(left)


def _held(features: Iterable[dict[str, Tensor]], reach: int) -> Iterator[dict[str, Tensor]]:
    """Stretches with as many frames before them as their first new place needs; a place needs `reach` frames on both sides."""
    held: dict[str, Tensor] = {}
    for new in features:
        held = {name: torch.cat([held[name], frames], dim=1) for name, frames in new.items()} if held else new
        if held["loudness"].shape[1] >= 2 * reach:
            yield held
            held = {name: frames[:, 1 - 2 * reach :] for name, frames in held.items()}


def _curves(features: dict[str, Tensor], look: Sight) -> Tensor:
    """How much changes across every place that has all its frames, and the dip: `(places, 4)`, float32."""
    length = features["loudness"].shape[1]
    rows = [
        change_across(features["spectrum"], look.gap, look.width),
        _level_change(features["loudness"], look),
        change_across(features["chroma"], look.gap, look.width),
        dip_within(features["spectrum"], look.gap, look.width),
    ]
    return torch.stack([row[look.reach : length + 1 - look.reach] for row in rows], dim=1).float()


def _level_change(power: Tensor, look: Sight) -> Tensor:
    """Absolute difference in dB between the mean power, `(1, l)`, of the two sides of each place: `(l,)`, NaN where they are not all there."""
    decibels = 10 * F.avg_pool1d(power[None].double(), look.width, 1)[0, 0].clamp(min=FLOOR).log10()
    apart = look.width + 2 * look.gap
    return F.pad((decibels[apart:] - decibels[:-apart]).abs(), (look.reach, look.reach - 1), value=torch.nan)


def _judged(curves: Tensor, places: Tensor, look: Sight) -> SeamScore:
    """The score of boundaries at `places`, beside that of the same boundaries moved around."""
    far, low, high = _surroundings(places, curves.shape[1], look.reach)
    elsewhere = curves[:, far].mean(1, dtype=torch.float64)
    rounding = torch.tensor(ROUNDING, dtype=torch.float64)

    def ratios(at: Tensor) -> Tensor:
        return (curves[:3, at].mean(1, dtype=torch.float64) + rounding) / (elsewhere[:3] + rounding)

    here = ratios(places)
    shifts = torch.linspace(0, high - low, min(SHIFTS, high - low) + 1, dtype=torch.float64).long()[:-1]
    moved = torch.stack([ratios(low + (places - low + shift) % (high - low)).mean() for shift in shifts])
    bounds = torch.quantile(moved, torch.tensor([0.025, 0.975], dtype=moved.dtype)).tolist()
    dip = curves[3, places].mean(dtype=torch.float64) - elsewhere[3]
    return SeamScore(*here.tolist(), len(places), dip.item(), *bounds, (moved >= here.mean() - 1e-9).double().mean().item())


def _surroundings(places: Tensor, length: int, reach: int) -> tuple[Tensor, int, int]:
    """Which of `length` places lie elsewhere, and from where to where: within half the way to the next boundary around all of them."""
    half = int(places.diff().min()) // 2 if len(places) > 1 else length
    low, high = max(reach, int(places[0]) - half), min(length, int(places[-1]) + half)
    far = torch.zeros(length, dtype=torch.bool)
    far[low:high] = True
    for place in places.tolist():
        far[max(0, place - reach) : place + reach + 1] = False
    return far, low, high


def table(rows: Sequence[tuple[str, SeamScore]]) -> str:
    """Markdown of scores by name, and their medians."""
    lines = ["| | seam score | by chance alone | p | spectrum | loudness | chroma | dip, dB | boundaries |", "|---" * 9 + "|"]
    for name, row in rows:
        ratios = f"{row.spectrum:.2f} | {row.loudness:.2f} | {row.chroma:.2f} | {row.dip_db:+.2f} | {row.boundaries}"
        lines.append(f"| {name} | {row.score:.2f} | {row.low:.2f} … {row.high:.2f} | {row.p:.3f} | {ratios} |")
    middle = medians([row for _, row in rows])
    ratios = f"{middle['spectrum']:.2f} | {middle['loudness']:.2f} | {middle['chroma']:.2f} | {middle['dip_db']:+.2f}"
    return "\n".join([*lines, f"| median | {middle['score']:.2f} | | | {ratios} | {sum(row.boundaries for _, row in rows)} |"])


def medians(scores: Sequence[SeamScore]) -> dict[str, float]:
    """Median over pieces of the score, of its three parts and of the dip."""
    names = ("score", "spectrum", "loudness", "chroma", "dip_db")
    return {name: float(np.median([getattr(score, name) for score in scores])) for name in names}
