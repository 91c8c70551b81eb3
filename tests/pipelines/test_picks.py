"""Choosing among vectors: each way by what it promises, and what lies between two."""

import math
import sys

import pytest
import torch
from torch.nn import functional as F

from mousai.pipelines.picks import MOST_PAIRED, WAYS, between, density, distances, diverse, pick, quantile


def clusters(sizes, features=16, noise=0.05):
    """Unit vectors around as many orthogonal directions; which one each belongs to."""
    draw = torch.Generator().manual_seed(0)
    labels = torch.cat([torch.full((size,), label) for label, size in enumerate(sizes)])
    return F.normalize(torch.eye(features)[labels] + noise * torch.randn(len(labels), features, generator=draw), dim=-1), labels


@pytest.mark.parametrize("way", WAYS)
def test_every_way_picks_k_different_ones_the_same_every_time(way):
    vectors, _ = clusters((20, 12, 9))
    found = pick(vectors, way, 5, seed=1)
    assert len(set(found)) == 5 and found == pick(vectors, way, 5, seed=1)
    assert len(set(pick(vectors[:3], way, 3))) == 3 and pick(vectors[:1], way, 1) == [0]
    assert len(set(pick(vectors[:1].expand(6, -1), way, 4))) == 4  # all the same


@pytest.mark.parametrize("way", ["diverse", "kmeans", "dbscan", "density"])
def test_what_lies_in_groups_is_picked_from_each(way):
    vectors, labels = clusters((20, 12, 9))
    found = labels[pick(vectors, way, 3)].tolist()
    assert sorted(found) == [0, 1, 2]
    if way in ("kmeans", "dbscan"):
        assert found == [0, 1, 2]  # the largest first


def test_the_centre_is_nearest_to_the_mean_and_max_min_is_greedy():
    vectors, _ = clusters((7, 5, 3))
    unit = vectors.double()
    mean = F.normalize(unit.mean(0), dim=0)
    assert pick(vectors, "centre", 4) == (unit @ mean).argsort(descending=True)[:4].tolist()
    chosen = diverse(unit, 4)
    for count in range(1, 4):
        apart = distances(unit)[chosen[:count]].amin(0)
        assert math.isclose(apart[chosen[count]], apart.max(), abs_tol=1e-12)
    peaks = density(unit, 3)
    apart = distances(unit)
    many = torch.exp(-((apart / apart[torch.triu_indices(15, 15, 1).unbind()].quantile(0.02)) ** 2)).sum(1)
    far = [max(apart[index]) if many[index] == many.max() else min(apart[index][many > many[index]]) for index in range(15)]
    assert peaks == sorted(range(15), key=lambda index: -many[index] * far[index])[:3]


def test_many_vectors_are_picked_from_without_all_their_distances():
    values = torch.rand(1001, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for share in (0.0, 0.02, 0.0333, 1.0):
        torch.testing.assert_close(quantile(values, share), values.quantile(share))
    assert float(quantile(torch.arange(2.0**24 + 1), 0.5)) == 2**23  # torch's own refuses so many
    many = torch.randn(60_000, 3, generator=torch.Generator().manual_seed(0))  # all distances would be 29 GB
    assert len(set(pick(many, "diverse", 4))) == 4
    for way in ("dbscan", "density"):
        with pytest.raises(ValueError, match=f"{way} compares every two vectors, and takes 10,000 at most, came 10,001"):
            pick(many[: MOST_PAIRED + 1], way, 4)


def test_the_way_between_two_is_the_great_circle():
    one, other = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0])
    way = between(one, other, 5)
    angles = torch.linspace(0, math.pi / 2, 5)
    torch.testing.assert_close(way, torch.stack([angles.cos(), angles.sin(), torch.zeros(5)], dim=1))
    torch.testing.assert_close(between(one, one, 3), one.expand(3, -1))
    with pytest.raises(ValueError, match="opposite"):
        between(one, -one, 3)


def test_what_cannot_be_picked_is_refused(monkeypatch):
    vectors, _ = clusters((4, 3))
    for wrong, message in ((dict(way="best", k=2), "expected one of diverse, centre"), (dict(way="diverse", k=8), "from 1 to 7, as many as there are"), (dict(way="centre", k=0), "k: expected from 1")):
        with pytest.raises(ValueError, match=message):
            pick(vectors, **wrong)
    vectors[2, 0] = math.nan
    with pytest.raises(ValueError, match="no numbers"):
        pick(vectors, "diverse", 2)
    monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    with pytest.raises(ValueError, match=r"kmeans needs the package sklearn: `pip install 'mousai\[audition\]'`, or take diverse"):
        pick(clusters((4, 3))[0], "kmeans", 2)
