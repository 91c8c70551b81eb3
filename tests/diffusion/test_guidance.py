"""Guidance: one pass, its closed form on every process, where it applies, and what rescale and APG keep."""

import pytest
import torch

from mousai.diffusion import samplers
from mousai.diffusion.guidance import HELD, OFF, for_sampler, guided, mixed, settled
from mousai.diffusion.process import V
from mousai.diffusion.sampling import PLAIN
from mousai.diffusion.schedules import schedule
from mousai.randomness import randn, seeded_generators
from mousai.types import SamplingSettings

COND, OTHER = 0, 1
ITEM, NEGATIVE = torch.tensor([COND, COND]), torch.tensor([OTHER, OTHER])


class Net:
    """cond(x, t) = 2 x + t, other(x, t) = -x; keeps how many rows each of its passes had."""

    def __init__(self):
        self.passes = []

    def __call__(self, x, t, which, first):
        self.passes.append(len(x))
        assert len(x) == len(t) == len(which) == len(first)
        return torch.where((which == COND)[:, None, None], 2 * x + t[:, None, None], -x)

    def guided(self, process=V, **settings):
        return for_sampler(guided(process, self, SamplingSettings(**settings)), ITEM, NEGATIVE)


@pytest.fixture
def x():
    return randn((3, 40), seeded_generators([0, 1]))


T = torch.tensor(0.5)


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0, 15.0])
def test_it_is_the_formula_in_one_pass(x, scale):
    net = Net()
    torch.testing.assert_close(net.guided(guidance=scale)(x, T), -x + scale * (2 * x + 0.5 + x))
    assert net.passes == [4]


@pytest.mark.parametrize("settings", [{"guidance": 1.0}, {}])
def test_scale_one_asks_the_condition_alone(x, settings):
    net = Net()
    assert torch.equal(net.guided(**settings)(x, T), 2 * x + T)
    assert net.passes == [2]


def test_outside_the_interval_the_condition_is_asked_alone(x):
    net = Net()
    predict = net.guided(guidance=3.0, interval=(0.25, 0.75))
    samplers.ddim(V, predict, x, schedule("linear", 8))
    assert net.passes == [2, 2, 4, 4, 4, 4, 4, 2]  # at 1, 0.875, …, 0.125; 0.75 and 0.25 belong to the interval
    assert torch.equal(predict(x, torch.tensor(0.8)), 2 * x + 0.8)


def test_rows_are_told_what_each_is_told():
    asked = []

    def net(x, t, which, first):
        asked.append((t.tolist(), which.tolist(), list(first)))
        return torch.zeros_like(x)

    predict = guided(V, net, SamplingSettings(guidance=2.0, interval=(0.0, 0.6)))
    predict(torch.ones(3, 1, 4), torch.tensor([0.5, 0.75, 0.25]), torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5]), [7, 8, 9])
    assert asked == [([0.5, 0.75, 0.25, 0.5, 0.25], [0, 1, 2, 3, 5], [7, 8, 9, 7, 9])]


@pytest.mark.parametrize("settings", [{}, {"apg": 1.0}, {"apg": 0.4, "apg_norm": 0.3}, {"apg_norm": 0.1}], ids=str)
@pytest.mark.parametrize("t", [torch.tensor(0.3), torch.tensor([0.2, 0.9])], ids=str)
def test_guidance_of_the_same_data_is_the_same_data_on_every_process(x, process, settings, t):
    """What is guided are predictions of v, velocity or noise; what it means for the data is the same."""
    generator = torch.Generator().manual_seed(1)
    cond, other = (torch.randn(x.shape, generator=generator).double() for _ in range(2))
    x, t = x.double(), t.expand(2)

    def prediction_of(data):
        alpha, sigma = (part[:, None, None].double() for part in process.path.alpha_sigma(t))
        of_data, of_noise = process.mixture(alpha, sigma)
        return of_data * data + of_noise * (x - alpha * data) / sigma

    every = SamplingSettings(guidance=4.0, **settings).over(PLAIN)
    found = process.data(x, mixed(process, every, x, t, prediction_of(cond), prediction_of(other)), t)
    torch.testing.assert_close(found, apg(cond, other, 4.0, every.apg, every.apg_norm), rtol=1e-4, atol=1e-4)


def apg(cond, other, scale, part, norm):
    """Algorithm 1 of arXiv 2410.02416 without momentum, on data, item by item; its r is over the root of the number of values."""
    items = []
    for c, o in zip(cond, other):
        change = c - o
        if norm:
            change = change * min(1.0, norm * change.numel() ** 0.5 / change.norm())
        along = (change * c).sum() / (c * c).sum() * c
        items.append(c + (scale - 1) * (change - along + (1 - part) * along))
    return torch.stack(items)


def test_what_apg_adds_is_orthogonal_to_the_data_and_no_larger_than_said(x, process):
    net, settings = Net(), {"guidance": 9.0, "apg": 1.0, "apg_norm": 0.25}
    t, rows = T.expand(2), [0, 0]
    cond = process.data(x, net(x, t, ITEM, rows), T)
    added = process.data(x, net.guided(process, **settings)(x, T), T) - cond
    for i in range(2):
        assert (added[i] * cond[i]).sum().abs() < 1e-3 * added[i].norm() * cond[i].norm()
        assert added[i].square().mean().sqrt() <= 8 * 0.25 + 1e-4


@pytest.mark.parametrize("phi", [0.0, 0.7, 1.0])
def test_rescale_moves_each_item_to_the_conditions_deviation(x, phi):
    y = Net().guided(guidance=5.0, rescale=phi)(x, T)
    cond, plain = 2 * x + T, -x + 5 * (3 * x + T)
    for i in range(2):
        expected = phi * cond[i].std() + (1 - phi) * plain[i].std()
        assert y[i].std().item() == pytest.approx(expected.item(), rel=1e-4)
        torch.testing.assert_close(y[i] / y[i].std(), plain[i] / plain[i].std())


@pytest.mark.parametrize("part", [0.4, 1.0])
@pytest.mark.parametrize("t", [torch.tensor(0.3), torch.tensor([0.2, 1.0])], ids=str)
def test_hold_brings_each_channel_of_the_data_to_its_level_without_guidance(x, process, part, t):
    if process.name == "epsilon" and t.ndim:
        t = torch.tensor([0.2, 0.9])  # at 1 noise says nothing of the data
    x, t, generator = x.double(), t.expand(2), torch.Generator().manual_seed(1)
    cond, other = (torch.randn(x.shape, generator=generator).double() * torch.tensor([1.0, 0.1, 5.0])[:, None] for _ in range(2))
    plain, held = (mixed(process, SamplingSettings(guidance=6.0, hold=hold).over(PLAIN), x, t, cond, other) for hold in (0.0, part))
    wanted, loud, found = (process.data(x, each, t) for each in (cond, plain, held))
    level = lambda data: data.square().mean(-1).sqrt()  # noqa: E731
    torch.testing.assert_close(level(found), part * level(wanted) + (1 - part) * level(loud), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found / level(found)[..., None], loud / level(loud)[..., None], rtol=1e-3, atol=1e-4)


def test_at_the_data_there_is_nothing_to_hold(x):
    zero = torch.zeros(2)
    every = SamplingSettings(guidance=6.0, hold=1.0).over(PLAIN)
    torch.testing.assert_close(mixed(V, every, x, zero, 2 * x, x), 7 * x)


@pytest.mark.parametrize("settings", [{"rescale": 1.0}, {"hold": 1.0}, {"apg": 1.0, "apg_norm": 1.0}])
def test_silence_stays_finite(settings):
    zero = lambda x, t, which, first: torch.zeros_like(x)  # noqa: E731
    predict = for_sampler(guided(V, zero, SamplingSettings(guidance=3.0, **settings)), ITEM, NEGATIVE)
    assert torch.equal(predict(torch.zeros(2, 3, 4), T), torch.zeros(2, 3, 4))


def test_the_state_stays_float32_under_a_half_precision_net(x):
    half = lambda x, t, which, first: (0.1 * x).bfloat16()  # noqa: E731
    assert for_sampler(guided(V, half, SamplingSettings(guidance=3.0)), ITEM, NEGATIVE)(x, T).dtype == torch.float32


@pytest.mark.parametrize("settings", [{"rescale": 0.7}, {"hold": 1.0}, {"apg": 0.8, "apg_norm": 0.2}])
def test_items_are_guided_each_for_itself(x, settings):
    predict = guided(V, Net(), SamplingSettings(guidance=4.0, **settings))
    together = for_sampler(predict, ITEM, NEGATIVE)(x, T)
    for i in range(2):
        torch.testing.assert_close(for_sampler(predict, ITEM[:1], NEGATIVE[:1])(x[i : i + 1], T)[0], together[i])


def test_guidance_of_a_gaussian_is_what_it_is_for_the_data(exact, process):
    """Towards N(1, 0.2^2) and away from N(0, 0.2^2): the same answer on every process, mean 2 at a scale of 2."""
    near, far = exact.gaussian(process, 1.0, 0.2), exact.gaussian(process, 0.0, 0.2)

    def net(x, t, which, first):
        return torch.where((which == COND)[:, None, None], near(x, t), far(x, t))

    predict = for_sampler(guided(process, net, SamplingSettings(guidance=2.0)), ITEM, NEGATIVE)
    noise = randn((1, 4000), seeded_generators([0, 1])).double()
    y = samplers.sample("dpmpp_2m", process, predict, noise, schedule("cosine", 60))
    assert y.mean().item() == pytest.approx(2.0, abs=0.02) and y.std().item() == pytest.approx(0.2, abs=0.01)


# -- what holds it -----------------------------------------------------------------------------------------------------

OWN = SamplingSettings(steps=9, guidance=1.5).over(OFF)


@pytest.mark.parametrize("said", [{}, {"steps": 3}, {"guidance": 1.5}, {"guidance": 1.0}, {"guidance": 5.0, "rescale": 0.0}, {"guidance": 5.0, "interval": (0.0, 1.0)}], ids=str)
def test_a_models_own_settings_and_what_is_said_stay(said):
    said = SamplingSettings(**said)
    assert settled(said, OWN) == said.over(OWN)


def test_more_guidance_than_the_models_own_is_held():
    found = settled(SamplingSettings(guidance=5.0, steps=3), OWN)
    assert found == SamplingSettings(guidance=5.0, steps=3).over(HELD)
    assert settled(found, OWN) == found  # what a recipe says comes out the same
    own = SamplingSettings(guidance=3.0, interval=(0.3, 1.0), rescale=0.7).over(OFF)
    assert settled(SamplingSettings(guidance=8.0), own) == SamplingSettings(guidance=8.0).over(own)  # it is tempered in its own way
    bare = SamplingSettings(steps=9, guidance=2.0)  # of a generator that tempers nothing
    assert settled(SamplingSettings(guidance=8.0), bare) == SamplingSettings(guidance=8.0).over(bare)


@pytest.mark.parametrize("scale", [2.0, 3.0, 5.0, 8.0])
def test_held_guidance_keeps_the_level_of_data(exact, process, scale):
    """The prompt's data are at 0.7 of the others' level in a direction of their own: plainly guided they grow with the scale."""
    generator = torch.Generator().manual_seed(0)
    told, others = (torch.randn(1, 4, 64, generator=generator) for _ in range(2))
    near, far = (exact.gaussian(process, mean, 0.3) for mean in (told, 0.7 * (told + others) / 2**0.5))

    def level(settings):
        predict = for_sampler(guided(process, lambda x, t, which, first: torch.where((which == COND)[:, None, None], near(x, t), far(x, t)), settings), ITEM[:1], NEGATIVE[:1])
        noise = randn((4, 64), seeded_generators([0])).double()
        return samplers.sample("ddim", process, predict, noise, schedule("linear", 40)).std().item() / told.std().item()

    held, plain = level(SamplingSettings(guidance=scale).over(HELD)), level(SamplingSettings(guidance=scale))
    assert plain > 1 + 0.3 * (scale - 1)
    assert 0.8 < held < 1.3
