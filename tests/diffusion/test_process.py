"""The processes: closed forms at every t, exact ends, one t an item."""

import math

import pytest
import torch

from mousai.diffusion.process import EPSILON, FLOW, PROCESSES, V

TIMES = (0.0, 0.1, 0.5, 0.83, 1.0)


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 2, 8, generator=generator), torch.randn(3, 2, 8, generator=generator)


@pytest.mark.parametrize("t", TIMES)
def test_amplitudes_are_the_cosine_angle_or_the_straight_line(t):
    for of_process, expected in ((V, (math.cos(math.pi * t / 2), math.sin(math.pi * t / 2))), (FLOW, (1 - t, t))):
        alpha, sigma = of_process.path.alpha_sigma(t)
        assert alpha.dtype == sigma.dtype == torch.float32
        assert (alpha.item(), sigma.item()) == pytest.approx(expected, abs=1e-7)
        assert of_process.path.amplitudes(t) == pytest.approx(expected, abs=1e-15)
        assert of_process.path.power(t) == pytest.approx(expected[0] ** 2 + expected[1] ** 2, abs=1e-15)


def test_the_ends_are_exact(process, pair):
    data, noise = pair
    assert process.path.amplitudes(1.0) == (0.0, 1.0) and process.path.amplitudes(0.0) == (1.0, 0.0)
    assert torch.equal(process.add_noise(data, noise, 1.0), noise)
    assert torch.equal(process.add_noise(data, noise, 0.0), data)


def test_what_is_predicted():
    data, noise = torch.tensor([[2.0]]), torch.tensor([[5.0]])
    assert V.target(data, noise, 0.0).item() == 5 and V.target(data, noise, 1.0).item() == -2
    assert FLOW.target(data, noise, 0.3).item() == 3
    assert EPSILON.target(data, noise, 0.3).item() == 5


@pytest.mark.parametrize("t", TIMES)
def test_a_prediction_gives_data_and_noise_back(process, pair, t):
    data, noise = (part.double() for part in pair)
    x_t, target = (function(data, noise, torch.tensor(t)) for function in (process.add_noise, process.target))
    if process is EPSILON and t == 1:
        return
    torch.testing.assert_close(process.data(x_t, target, t), data, rtol=0, atol=2e-6)
    torch.testing.assert_close(process.noise(x_t, target, t), noise, rtol=0, atol=2e-6)


def test_epsilon_is_asked_in_the_middle_where_it_would_say_nothing_of_the_data(process, pair):
    data, noise = pair
    one, next_, lower = torch.tensor(1.0), torch.tensor(0.6), torch.tensor(0.9)
    asked = process.asked_at(one, next_)
    assert asked == pytest.approx(0.8 if process is EPSILON else 1.0)
    assert process.asked_at(lower, next_) is lower
    found = process.data_and_noise(noise, process.target(data, noise, asked), one, next_)
    torch.testing.assert_close(found[1], noise, rtol=0, atol=1e-6)
    if process is not EPSILON:
        torch.testing.assert_close(found[0], data, rtol=0, atol=1e-6)


@pytest.mark.parametrize("t", (0.05, 0.37, 0.9))
def test_the_derivative_is_the_slope_of_the_path(process, pair, t):
    data, noise = (part.double() for part in pair)

    def x_at(t):
        alpha, sigma = process.path.amplitudes(t)
        return alpha * data + sigma * noise

    slope = (x_at(t + 1e-5) - x_at(t - 1e-5)) / 2e-5
    torch.testing.assert_close(process.derivative(data, noise, t), slope, rtol=1e-7, atol=1e-7)


def test_the_derivative_is_the_prediction_of_a_flow_and_v_by_the_angle(pair):
    data, noise = pair
    assert torch.equal(FLOW.derivative(data, noise, 0.4), FLOW.target(data, noise, 0.4))
    torch.testing.assert_close(V.derivative(data, noise, 0.4), math.pi / 2 * V.target(data, noise, 0.4))


@pytest.mark.parametrize("t", (0.05, 0.37, 0.9))
def test_levels_are_sigma_over_alpha_and_back(process, t):
    alpha, sigma = process.path.amplitudes(t)
    level = process.path.level(t)
    assert level == pytest.approx(sigma / alpha) and process.log_snr(t) == pytest.approx(math.log(alpha / sigma))
    assert process.path.time_at(torch.tensor(level, dtype=torch.float64)).item() == pytest.approx(t)


@pytest.mark.parametrize("t", (0.05, 0.37, 0.9))
def test_data_change_with_the_prediction_by_their_gain(process, pair, t):
    x, prediction = pair
    change = process.data(x, prediction + 1, t) - process.data(x, prediction, t)
    torch.testing.assert_close(change, torch.full_like(x, process.data_gain(x, t)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("function", ["add_noise", "target", "data", "noise"])
def test_one_t_an_item_is_each_item_with_its_t(process, pair, function):
    function = getattr(process, function)
    data, noise = pair
    t = torch.tensor([0.2, 0.5, 0.9])
    together = function(data, noise, t)
    alone = torch.cat([function(data[i : i + 1], noise[i : i + 1], t[i]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    assert together.dtype == torch.float32


@pytest.mark.parametrize("name", PROCESSES)
def test_a_time_stays_float32_under_half_precision_data(name, pair):
    data, noise = (part.bfloat16() for part in pair)
    t = torch.tensor([0.001, 0.002, 0.003])  # bfloat16 has 8 bits: 1 - t would be 1 for all three
    expected = PROCESSES[name].add_noise(data.float(), noise.float(), t)
    assert torch.equal(PROCESSES[name].add_noise(data, noise, t), expected)
