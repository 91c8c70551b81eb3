"""Guidance: one pass, its closed form, where it applies, and what rescale keeps."""

import pytest
import torch

from mousai.diffusion import samplers
from mousai.diffusion.guidance import guided
from mousai.diffusion.schedules import schedule
from mousai.randomness import item_generators, randn


class Net:
    """cond(x, t) = 2 x + t, uncond(x, t) = -x; counts its passes."""

    def __init__(self):
        self.both = self.alone = 0

    def predict_both(self, xx, t):
        self.both += 1
        first, second = xx.chunk(2)
        assert torch.equal(first, second)
        return torch.cat([2 * first + t, -second])

    def predict_cond(self, x, t):
        self.alone += 1
        return 2 * x + t


@pytest.fixture
def x():
    return randn((3, 40), item_generators(0, 2))


T = torch.tensor(0.5)


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0, 15.0])
def test_it_is_the_formula_in_one_pass(x, scale):
    net = Net()
    y = guided(net.predict_both, net.predict_cond, scale)(x, T)
    torch.testing.assert_close(y, -x + scale * (2 * x + 0.5 + x))
    assert (net.both, net.alone) == (1, 0)


def test_scale_one_asks_the_condition_alone(x):
    net = Net()
    y = guided(net.predict_both, net.predict_cond, 1.0)(x, T)
    assert torch.equal(y, 2 * x + T)
    assert (net.both, net.alone) == (0, 1)


def test_outside_the_interval_the_condition_is_asked_alone(x):
    net = Net()
    predict = guided(net.predict_both, net.predict_cond, 3.0, interval=(0.25, 0.75))
    samplers.ddim(predict, x, schedule("linear", 8))  # asks at 1, 0.875, …, 0.125
    assert (net.both, net.alone) == (5, 3)  # 0.75 and 0.25 belong to the interval
    assert torch.equal(predict(x, torch.tensor(0.8)), 2 * x + 0.8)


@pytest.mark.parametrize("phi", [0.0, 0.7, 1.0])
def test_rescale_moves_each_item_to_the_conditions_deviation(x, phi):
    net = Net()
    y = guided(net.predict_both, net.predict_cond, 5.0, rescale=phi)(x, T)
    cond, mixed = 2 * x + T, -x + 5 * (3 * x + T)
    for i in range(2):
        expected = phi * cond[i].std() + (1 - phi) * mixed[i].std()
        assert y[i].std().item() == pytest.approx(expected.item(), rel=1e-4)
        torch.testing.assert_close(y[i] / y[i].std(), mixed[i] / mixed[i].std())


def test_rescale_keeps_silence_finite():
    zero = lambda x, t: torch.zeros_like(x)  # noqa: E731
    y = guided(zero, zero, 3.0, rescale=1.0)(torch.ones(2, 4), T)
    assert torch.equal(y, torch.zeros(2, 4))


def test_the_state_stays_float32_under_a_half_precision_net(x):
    half = lambda x, t: (0.1 * x).bfloat16()  # noqa: E731
    assert guided(half, half, 3.0)(x, T).dtype == torch.float32


def test_items_are_guided_each_for_itself(x):
    net = Net()
    predict = guided(net.predict_both, net.predict_cond, 4.0, rescale=0.7)
    together = predict(x, T)
    for i in range(2):
        torch.testing.assert_close(predict(x[i : i + 1], T)[0], together[i])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scale": -1.0}, "scale must be"),
        ({"scale": float("nan")}, "scale must be"),
        ({"scale": float("inf")}, "scale must be"),
        ({"interval": (0.7, 0.3)}, "interval must be"),
        ({"interval": (0.0, 1.5)}, "interval must be"),
        ({"rescale": 1.5}, "rescale must be"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    net = Net()
    with pytest.raises(ValueError, match=message):
        guided(net.predict_both, net.predict_cond, **({"scale": 2.0} | change))
