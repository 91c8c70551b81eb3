"""Choosing some of many vectors of a joint space, by ways that are seeded; and what lies between two.

| way | picks |
|---|---|
| `centre` | nearest to the mean of all |
| `diverse` | max–min: first the nearest to the mean, then again and again the one farthest from all that are picked |
| `kmeans` | of each of k clusters the nearest to its mean, large clusters first |
| `dbscan` | of each dense region the one with the smallest distances to the rest of it, large regions first; then as `diverse` |
| `density` | density peaks: many near it, and far from any that has more (Rodriguez & Laio, Science 344, 2014) |

Distances are 1 - cosine.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor
from torch.nn import functional as F

from mousai.checks import extra

NEAR_SHARE = 0.02  # of all pairs are near by the measure of `density`
NEIGHBOURS = 4  # of a point in a dense region, of `dbscan`
PAIRED, MOST_PAIRED = ("dbscan", "density"), 10_000  # these have every distance in memory at once, 0.8 GB of so many vectors, several times
OTHERWISE = "take diverse, centre or density"


def pick(vectors: Tensor, way: str, k: int, seed: int = 0) -> list[int]:
    """The places of k of the unit vectors `(n, e)`; ValueError for an unknown way or n < k, and where a package is missing."""
    if way not in WAYS:
        raise ValueError(f"pick: expected one of {', '.join(WAYS)}, came {way!r}")
    if not 1 <= k <= len(vectors):
        raise ValueError(f"k: expected from 1 to {len(vectors)}, as many as there are vectors, came {k}")
    check_count(way, len(vectors))
    if not bool(vectors.isfinite().all()):
        raise ValueError("pick: some of the vectors are no numbers")
    return WAYS[way](F.normalize(vectors.double().cpu(), dim=-1), k, seed)


def check_count(way: str, n: int) -> None:
    """ValueError for more vectors than a way has memory for."""
    if way in PAIRED and n > MOST_PAIRED:
        raise ValueError(f"n: {way} compares every two vectors, and takes {MOST_PAIRED:,} at most, came {n:,}; diverse, centre and kmeans take more")


def distances(vectors: Tensor) -> Tensor:
    return (1 - vectors @ vectors.T).clamp(min=0)


def quantile(values: Tensor, share: float) -> Tensor:
    """torch's `quantile` of `(n,)`, which has a limit of 2**24 values."""
    place = share * (len(values) - 1)
    low, high = (values.kthvalue(1 + rank).values for rank in (math.floor(place), math.ceil(place)))
    return low.lerp(high, place - math.floor(place))


def centre(vectors: Tensor, k: int, seed: int = 0) -> list[int]:
    near = vectors @ F.normalize(vectors.mean(0), dim=0)
    return near.argsort(descending=True, stable=True)[:k].tolist()


def diverse(vectors: Tensor, k: int, seed: int = 0, first: tuple[int, ...] = ()) -> list[int]:
    chosen = list(first) or centre(vectors, 1)
    nearest = torch.full((len(vectors),), torch.inf, dtype=vectors.dtype)
    for place in chosen:
        nearest = torch.minimum(nearest, (1 - vectors @ vectors[place]).clamp(min=0))
    while len(chosen) < k:
        nearest[chosen] = -1.0
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (1 - vectors @ vectors[chosen[-1]]).clamp(min=0))
    return chosen[:k]


def kmeans(vectors: Tensor, k: int, seed: int = 0) -> list[int]:
    cluster = extra("sklearn", "choosing by kmeans", "audition", "sklearn.cluster", OTHERWISE)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Number of distinct clusters")  # of equal vectors there are fewer
        labels = torch.from_numpy(cluster.KMeans(k, n_init=4, random_state=seed).fit_predict(vectors.numpy())).long()
    chosen = []
    for label in labels.bincount(minlength=k).argsort(descending=True, stable=True).tolist():
        members = torch.nonzero(labels == label)[:, 0]
        if len(members):
            chosen.append(int(members[centre(vectors[members], 1)[0]]))
    return diverse(vectors, k, first=tuple(chosen))


def dbscan(vectors: Tensor, k: int, seed: int = 0) -> list[int]:
    cluster = extra("sklearn", "choosing by dbscan", "audition", "sklearn.cluster", OTHERWISE)
    apart = distances(vectors)
    near = min(NEIGHBOURS, len(vectors) - 1)
    reach = float(apart.sort(dim=1).values[:, near].median())
    labels = torch.from_numpy(cluster.DBSCAN(eps=max(reach, 1e-9), min_samples=near + 1, metric="precomputed").fit_predict(apart.numpy())).long()
    regions = [torch.nonzero(labels == label)[:, 0] for label in range(int(labels.max()) + 1)]
    regions.sort(key=len, reverse=True)
    middles = [int(members[apart[members][:, members].sum(1).argmin()]) for members in regions[:k]]
    return diverse(vectors, k, first=tuple(middles))


def density(vectors: Tensor, k: int, seed: int = 0) -> list[int]:
    apart = distances(vectors)
    if len(vectors) == 1:
        return [0]
    pairs = apart[torch.triu(torch.ones_like(apart, dtype=torch.bool), diagonal=1)]
    reach = float(quantile(pairs, NEAR_SHARE).clamp(min=1e-9))
    many = torch.exp(-((apart / reach) ** 2)).sum(1)
    order = many.argsort(descending=True, stable=True)
    far = torch.full((len(vectors),), float(apart.max()), dtype=apart.dtype)
    for place, index in enumerate(order[1:].tolist(), 1):
        far[index] = apart[index, order[:place]].min()
    return (many * far).argsort(descending=True, stable=True)[:k].tolist()


WAYS = {"diverse": diverse, "centre": centre, "kmeans": kmeans, "dbscan": dbscan, "density": density}


def between(one: Tensor, other: Tensor, steps: int) -> Tensor:
    """`steps` unit vectors on the great circle from one `(e,)` to another, both ends included, evenly apart: SLERP (Shoemake 1985)."""
    if steps < 2:
        raise ValueError(f"steps: expected at least 2, the ends, came {steps}")
    one, other = F.normalize(one.double(), dim=0), F.normalize(other.double(), dim=0)
    angle = torch.arccos((one @ other).clamp(-1, 1))
    part = torch.linspace(0, 1, steps, dtype=torch.float64)[:, None]
    if float(angle.sin()) < 1e-6:
        if float(angle) > 1:
            raise ValueError("between: the two vectors are opposite, no way between them is the shortest")
        return one.expand(steps, -1).float()
    return (((1 - part) * angle).sin() * one + (part * angle).sin() * other).div(angle.sin()).float()
