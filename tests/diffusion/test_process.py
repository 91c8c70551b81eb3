"""The two processes: closed forms at every t, exact ends, one t an item."""

import math

import pytest
import torch

from mousai.diffusion import process

TIMES = (0.0, 0.1, 0.5, 0.83, 1.0)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 2, 8, generator=generator), torch.randn(3, 2, 8, generator=generator)


@pytest.mark.parametrize("t", TIMES)
def test_amplitudes_are_the_cosine_angle(t):
    alpha, sigma = process.alpha_sigma(t)
    assert alpha.dtype == sigma.dtype == torch.float32
    assert alpha.item() == pytest.approx(math.cos(math.pi * t / 2), abs=1e-7)
    assert sigma.item() == pytest.approx(math.sin(math.pi * t / 2), abs=1e-7)


def test_the_ends_are_exact(pair):
    data, noise = pair
    assert process.alpha_sigma(1.0)[0] == 0 and process.alpha_sigma(0.0)[1] == 0
    assert torch.equal(process.add_noise(data, noise, 1.0), noise)
    assert torch.equal(process.add_noise(data, noise, 0.0), data)


@pytest.mark.parametrize("t", TIMES)
def test_v_gives_data_and_noise_back(pair, t):
    data, noise = pair
    x_t, v = process.add_noise(data, noise, t), process.v_target(data, noise, t)
    torch.testing.assert_close(process.data_from_v(x_t, v, t), data, rtol=0, atol=1e-6)
    torch.testing.assert_close(process.noise_from_v(x_t, v, t), noise, rtol=0, atol=1e-6)


def test_v_is_the_derivative_by_the_angle(pair):
    data, noise = (part.double() for part in pair)
    t, dt = 0.37, 1e-3
    slope = process.add_noise(data, noise, t + dt) - process.add_noise(data, noise, t - dt)
    torch.testing.assert_close(slope / (math.pi * dt), process.v_target(data, noise, t), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("t", TIMES)
def test_velocity_gives_data_back_and_is_the_derivative(pair, t):
    data, noise = pair
    x_t, velocity = process.flow_x_t(data, noise, t), process.velocity_target(data, noise)
    torch.testing.assert_close(process.data_from_velocity(x_t, velocity, t), data, rtol=0, atol=1e-6)
    torch.testing.assert_close(data + t * velocity, x_t, rtol=0, atol=1e-6)


@pytest.mark.parametrize("function", [process.add_noise, process.v_target, process.flow_x_t])
def test_one_t_an_item_is_each_item_with_its_t(pair, function):
    data, noise = pair
    t = torch.tensor([0.2, 0.5, 0.9])
    together = function(data, noise, t)
    alone = torch.cat([function(data[i : i + 1], noise[i : i + 1], t[i]) for i in range(3)])
    assert torch.equal(together, alone)
    assert together.dtype == torch.float32


def test_a_time_stays_float32_under_half_precision_data(pair):
    data, noise = (part.bfloat16() for part in pair)
    t = torch.tensor([0.001, 0.002, 0.003])  # bfloat16 has 8 bits: 1 - t would be 1 for all three
    expected = process.flow_x_t(data.float(), noise.float(), t)
    assert torch.equal(process.flow_x_t(data, noise, t), expected)
