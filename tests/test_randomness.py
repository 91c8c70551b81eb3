"""Noise that belongs to an item."""

import pytest
import torch

from mousai.randomness import randn, seeded_generators


def test_an_item_is_the_same_alone_and_in_any_batch():
    together = randn((2, 50), seeded_generators(range(7, 12)))
    for i in range(5):
        assert torch.equal(randn((2, 50), seeded_generators([7 + i]))[0], together[i])
    assert torch.equal(randn((2, 50), seeded_generators([10, 11])), together[3:])
    assert not torch.equal(together[0], together[1])


def test_later_draws_do_not_depend_on_the_batch_either():
    batch, alone = seeded_generators([0, 1, 2]), seeded_generators([2])
    for shape in ((4,), (3, 5), (1,)):
        assert torch.equal(randn(shape, batch)[2], randn(shape, alone)[0])


def test_noise_is_standard_normal_and_takes_a_dtype():
    noise = randn((2, 50_000), seeded_generators([1, 2]))
    assert noise.dtype == torch.float32 and noise.shape == (2, 2, 50_000)
    assert noise.mean().abs() < 0.01 and (noise.std() - 1).abs() < 0.01
    half = randn((2, 50_000), seeded_generators([1, 2]), dtype=torch.bfloat16)
    assert torch.equal(half, noise.bfloat16())


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    randn((8,), seeded_generators([3, 4]))
    assert torch.equal(torch.get_rng_state(), before)


def test_seeds_must_be_in_range():
    assert randn((4,), seeded_generators([0, 2**32 - 1])).shape == (2, 4)
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match=str(seed)):
            seeded_generators([seed])
    with pytest.raises(ValueError, match="at least one generator"):
        randn((4,), [])
