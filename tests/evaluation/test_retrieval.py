"""Places of what belongs together, and what chance gives."""

import random

import pytest
import torch

from mousai.evaluation.retrieval import chance_within, expected_places, places, retrieval
from mousai.evaluation.vectors import spread


def test_places_are_counted_from_the_first_and_ties_are_halved():
    similarity = torch.tensor([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1], [0.5, 0.5, 0.1]])
    own = torch.tensor([[True, False, False], [False, False, True], [True, False, False]])
    assert places(similarity, own).tolist() == [1.0, 3.0, 1.5]
    both = torch.tensor([[False, True, True]])
    assert places(similarity[:1], both).tolist() == [2.0]  # the best of its own counts
    found = retrieval(similarity, own)
    assert found["recall_1"] == pytest.approx(1 / 3) and found["recall_10"] == 1.0 and found["median_place"] == 1.5


def test_chance_is_what_random_orders_give():
    draw = random.Random(0)
    firsts = [min(draw.sample(range(1, 21), 3)) for _ in range(20000)]
    assert sum(firsts) / len(firsts) == pytest.approx(expected_places(20, 3), rel=0.02)
    assert sum(first <= 4 for first in firsts) / len(firsts) == pytest.approx(chance_within(20, 3, 4), abs=0.01)


def test_spread_is_the_mean_distance_of_pairs():
    vectors = torch.nn.functional.normalize(torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), dim=-1)
    by_hand = [1 - float(vectors[i] @ vectors[j]) for i in range(7) for j in range(7) if i != j]
    assert spread(vectors) == pytest.approx(sum(by_hand) / len(by_hand), abs=1e-5)
    assert spread(vectors[:1]) == 0.0
