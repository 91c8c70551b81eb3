"""Sets of one distribution are not told apart, others are."""

from __future__ import annotations

import pytest
import torch

from mousai.evaluation.two_sample import two_sample


def draws(count: int, shift: float = 0.0, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 20, generator=torch.Generator().manual_seed(seed)) + shift


def test_another_distribution_is_told_apart() -> None:
    found = two_sample(draws(40, 0.7), draws(60, seed=1))
    assert found.p < 0.01 and found.discrepancy > found.by_chance > 0 and (found.clips, found.reference_clips) == (40, 60)
    nearer = two_sample(draws(40, 0.3), draws(60, seed=1))
    assert nearer.discrepancy < found.discrepancy


def test_the_same_distribution_is_not() -> None:
    found = [two_sample(draws(30, seed=2 * i), draws(30, seed=2 * i + 1), seed=i) for i in range(20)]
    assert 0.25 < sum(test.p for test in found) / 20 < 0.75  # p is spread evenly
    assert abs(sum(test.discrepancy for test in found) / 20) < 0.005  # unbiased: around 0


def test_the_discrepancy_is_that_of_a_slow_loop() -> None:
    a, b = draws(3), draws(4, 0.5, 3)
    width = torch.tensor([torch.dist(b[i], b[j]) for i in range(4) for j in range(4) if i != j]).median()
    kernel = lambda x, y: torch.exp(-torch.dist(x, y) ** 2 / (2 * width**2)).item()  # noqa: E731
    within_a = sum(kernel(a[i], a[j]) for i in range(3) for j in range(3) if i != j) / 6
    within_b = sum(kernel(b[i], b[j]) for i in range(4) for j in range(4) if i != j) / 12
    across = sum(kernel(x, y) for x in a for y in b) / 12
    assert two_sample(a, b).discrepancy == pytest.approx(within_a + within_b - 2 * across, abs=1e-5)


def test_one_clip_is_not_enough() -> None:
    with pytest.raises(ValueError, match="two clips or more on both sides, came 1 and 5"):
        two_sample(draws(1), draws(5))
