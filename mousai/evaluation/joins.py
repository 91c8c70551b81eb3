"""Can the joins of a codec's windows be found? What changes across them, beside what changes everywhere else.

A curve tells for every frame of a piece how much something changes there: the spectrum, the level, the error against the
original. Its mean at the joins over its mean elsewhere is 1 where joins are like any other place. How far from 1 chance
alone leads is seen by moving the whole grid of joins to other places of the same pieces, many times (a permutation test
that keeps the spacing of the joins and the pulse of the music).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

SHIFTS = 2000  # grids moved to other places
NEGLIGIBLE = 1e-4  # dB, or standard deviations of latents: rounding


@dataclass(frozen=True)
class JoinTest:
    """A curve's mean at the joins and elsewhere; 95 % of the grids moved elsewhere have a mean from `low` to `high`."""

    joins: int
    at_joins: float
    elsewhere: float
    low: float
    high: float
    p: float  # share of the moved grids with a mean at least as high

    @property
    def ratio(self) -> float | None:
        """1 where nothing is to be found; None where there is nothing elsewhere. Of use where the curve cannot be negative."""
        return self.at_joins / self.elsewhere if abs(self.elsewhere) > NEGLIGIBLE else None

    @property
    def found(self) -> bool:
        """Whether the joins stand out."""
        return self.at_joins > max(self.high, NEGLIGIBLE)

    def to_dict(self) -> dict[str, float | int | bool | None]:
        return {**asdict(self), "ratio": self.ratio, "found": self.found}


def join_places(length: int, stride: int, context: int) -> list[int]:
    """The first frames of the windows but the first over `length` frames: where `codecs.chunks` joins, mid-fade."""
    return list(range(stride, length - context, stride))


def change_across(features: Tensor, gap: int, width: int) -> Tensor:
    """Mean absolute difference between the `width` frames from `gap` frames after each place on and those before: `(l,)`.

    `features` is `(f, l)`; places whose frames are not all there are NaN. Place p lies between the frames p - 1 and p.
    """
    before, after = _sides(features, gap, width)
    return _padded((after - before).abs().mean(0), gap + width, features.shape[-1])


def dip_within(features: Tensor, gap: int, width: int) -> Tensor:
    """How far the mean of the 2 x `gap` frames around each place lies below the mean of its two sides: `(l,)`, signed."""
    before, after = _sides(features, gap, width)
    inside = F.avg_pool1d(features[None], 2 * gap, 1)[0][..., width : width + before.shape[-1]]
    return _padded(((before + after) / 2 - inside).mean(0), gap + width, features.shape[-1])


def flux_within(features: Tensor, gap: int, width: int) -> Tensor:
    """Mean absolute change from frame to frame over the 2 x `gap` frames around each place: `(l,)`."""
    steps = features.diff(dim=-1).abs().mean(0)  # (l - 1,): step i leads from frame i to frame i + 1
    mean = F.avg_pool1d(steps[None, None], 2 * gap + 1, 1)[0, 0]  # entry i: the steps i … i + 2 gap, around place i + gap + 1
    usable = features.shape[-1] + 1 - 2 * (gap + width)
    return _padded(mean[width - 1 : width - 1 + usable], gap + width, features.shape[-1])


def mean_within(curve: Tensor, gap: int) -> Tensor:
    """Mean of a curve `(l,)` over the 2 x `gap` frames around each place: `(l,)`."""
    return _padded(F.avg_pool1d(curve[None, None].double(), 2 * gap, 1)[0, 0], gap, len(curve))


def _sides(features: Tensor, gap: int, width: int) -> tuple[Tensor, Tensor]:
    """Means of the frames before and after each place from gap + width on."""
    means = F.avg_pool1d(features[None].double(), width, 1)[0]
    usable = features.shape[-1] + 1 - 2 * (gap + width)
    if gap < 1 or width < 1 or usable < 1:
        raise ValueError(
            f"expected gap and width of 1 or more, together under half of {features.shape[-1]} frames; came {gap}, {width}"
        )
    return means[..., :usable], means[..., 2 * gap + width : 2 * gap + width + usable]


def _padded(curve: Tensor, first: int, length: int) -> Tensor:
    result = torch.full((length,), torch.nan, dtype=torch.float64)
    result[first : first + len(curve)] = curve.double()[: length - first]
    return result


def grid_test(curves: Sequence[Tensor], places: Sequence[Sequence[int]], period: int, margin: int, seed: int = 0) -> JoinTest:
    """Whether the curves `(l,)` of some pieces are higher at their joins, frames `places`, one every `period` frames.

    Frames nearer than `margin` to a join do not count as elsewhere. The grid is moved by any distance, to places near
    joins too: only then is a join no likelier to stand out by chance than the test says.
    """
    if period < 2 * margin + 2:
        raise ValueError(f"expected joins at least {2 * margin + 2} frames apart, to leave frames between; came {period}")
    held = [
        [place for place in list_ if place < len(curve) and not curve[place].isnan()]
        for curve, list_ in zip(curves, places, strict=True)
    ]
    count = sum(map(len, held))
    if count == 0:
        raise ValueError("no join to look at: take longer pieces")
    at_joins = torch.cat([curve[list_] for curve, list_ in zip(curves, held)]).mean().item()
    elsewhere = torch.cat([curve[_far(curve, list_, margin)] for curve, list_ in zip(curves, places)]).mean().item()
    moved = _moved(curves, places, period, seed)
    low, high = torch.quantile(moved, torch.tensor([0.025, 0.975], dtype=moved.dtype)).tolist()
    return JoinTest(count, at_joins, elsewhere, low, high, (1 + (moved >= at_joins).sum().item()) / (1 + len(moved)))


def _far(curve: Tensor, places: Sequence[int], margin: int) -> Tensor:
    """Which frames of a curve are numbers and at least `margin` from every join."""
    far = ~curve.isnan()
    for place in places:
        far[max(0, place - margin) : place + margin + 1] = False
    return far


def _moved(curves: Sequence[Tensor], places: Sequence[Sequence[int]], period: int, seed: int) -> Tensor:
    """Mean of the curves at the joins, moved in every piece by a distance of its own, `SHIFTS` times."""
    generator = torch.Generator().manual_seed(seed)
    total, count = torch.zeros(SHIFTS, dtype=torch.float64), torch.zeros(SHIFTS, dtype=torch.float64)
    for curve, list_ in zip(curves, places):
        shift = torch.randint(period, (SHIFTS, 1), generator=generator)
        joins = torch.tensor([*list_, (list_[0] if list_ else period) - period])[None] + shift  # the grid wraps around
        values = torch.where((joins >= 0) & (joins < len(curve)), curve[joins.clamp(0, len(curve) - 1)], torch.nan)
        total += values.nansum(1)
        count += (~values.isnan()).sum(1)
    return total / count.clamp(min=1)
