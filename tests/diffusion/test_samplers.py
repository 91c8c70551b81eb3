"""Samplers against exact predictors, against audio-diffusion-pytorch, and item by item."""

import math

import pytest
import torch
from audio_diffusion_pytorch import VSampler
from torch import nn

from mousai.diffusion import samplers
from mousai.diffusion.process import add_noise, flow_x_t
from mousai.diffusion.schedules import NAMES, schedule
from mousai.randomness import item_generators, randn

SHAPE = (2, 16)


class Net(nn.Module):
    """A small net with a time input, `(b,)` as the original's sampler gives it or 0-d as ours does."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(2, 2, 3, generator=generator) * 0.4)

    def forward(self, x, t):
        y = torch.nn.functional.conv1d(x, self.weight, padding=1)
        return torch.tanh(y + torch.cos(3 * t).reshape(-1, 1, 1)) - 0.2 * x


@pytest.fixture
def data():
    return torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(5)) * 3 + 1


@pytest.mark.parametrize("name", samplers.V_SAMPLERS)
@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 3, 20])
@pytest.mark.parametrize("t_start", [1.0, 0.4])
def test_an_exact_predictor_gives_the_data(exact, data, name, kind, steps, t_start):
    x = add_noise(data, randn(SHAPE, item_generators(0, 3)), t_start)
    y = samplers.sample(name, exact.point(data), x, schedule(kind, steps, t_start))
    torch.testing.assert_close(y, data, rtol=0, atol=1e-5)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_an_exact_predictor_gives_the_data_through_fresh_noise(exact, data, eta):
    generators = item_generators(0, 3)
    x = randn(SHAPE, generators)
    y = samplers.ddim(exact.point(data), x, schedule("linear", 8), eta=eta, generators=generators)
    torch.testing.assert_close(y, data, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", samplers.FLOW_SAMPLERS)
@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("t_start", [1.0, 0.4])
def test_a_straight_flow_gives_the_data(data, name, steps, t_start):
    noise = randn(SHAPE, item_generators(0, 3))
    times = schedule("linear", steps, t_start)
    x = flow_x_t(data, noise, t_start)
    constant = samplers.sample(name, lambda x, t: noise - data, x, times, objective="flow")
    torch.testing.assert_close(constant, data, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["euler", "midpoint"])
def test_a_flow_to_one_point_arrives_there(exact, data, name):
    noise = randn(SHAPE, item_generators(0, 3))
    y = samplers.sample(name, exact.velocity_of_point(data), noise, schedule("linear", 6), objective="flow")
    torch.testing.assert_close(y, data, rtol=0, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 5, 50])
def test_ddim_is_the_originals_sampler(steps):
    net, noise = Net(), randn(SHAPE, item_generators(3, 4))
    reference = VSampler(net=net)(noise, num_steps=steps)
    ours = samplers.ddim(net, noise, schedule("linear", steps))
    assert (ours - noise).abs().mean() > 0.1
    torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-5)


def test_dpmpp_in_two_steps_is_ddim():
    """The first and the last step are of first order, and that is DDIM."""
    net, noise = Net(), randn(SHAPE, item_generators(3, 4))
    times = schedule("linear", 2)
    torch.testing.assert_close(samplers.dpmpp_2m(net, noise, times), samplers.ddim(net, noise, times))
    more = schedule("linear", 6)
    assert (samplers.dpmpp_2m(net, noise, more) - samplers.ddim(net, noise, more)).abs().max() > 1e-3


def test_dpmpp_is_its_published_update():
    """Algorithm 2 of arXiv 2211.01095, written out with exponentials of lambda for 20 steps from t = 0.9 to 0.1."""
    net, x = Net(), randn(SHAPE, item_generators(3, 4))
    times = torch.linspace(0.9, 0.1, 21)
    ours = samplers.dpmpp_2m(net, x, times)
    alpha, sigma = torch.cos(math.pi / 2 * times.double()), torch.sin(math.pi / 2 * times.double())
    lambdas = torch.log(alpha / sigma)
    x, before = x.double(), None
    for i in range(20):
        data = alpha[i] * x - sigma[i] * net(x.float(), times[i]).double()
        h, d = lambdas[i + 1] - lambdas[i], data
        if before is not None:
            r = (lambdas[i] - lambdas[i - 1]) / h
            d = (1 + 1 / (2 * r)) * data - 1 / (2 * r) * before
        x = sigma[i + 1] / sigma[i] * x - alpha[i + 1] * (torch.exp(-h) - 1) * d
        before = data
    torch.testing.assert_close(ours, x.float(), rtol=0, atol=1e-5)


@pytest.fixture(scope="module")
def mixture(exact):
    """An exact predictor of three peaks, noise, and where 2000 small steps take it."""
    predict = exact.mixture([-1.5, 0.2, 1.0], [0.1, 0.3, 0.05], [0.3, 0.5, 0.2])
    noise = randn((2000,), item_generators(0, 1)).double()
    return predict, noise, samplers.ddim(predict, noise, schedule("linear", 2000))


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("steps", [5, 10, 20, 50])
def test_dpmpp_is_nearer_to_the_fine_answer_than_ddim(mixture, kind, steps):
    predict, noise, fine = mixture
    times = schedule(kind, steps)
    ddim = (samplers.ddim(predict, noise, times) - fine).abs().mean()
    dpmpp = (samplers.dpmpp_2m(predict, noise, times) - fine).abs().mean()
    assert dpmpp < 0.75 * ddim


@pytest.mark.parametrize("name", samplers.V_SAMPLERS)
def test_a_gaussian_comes_out_as_its_closed_form(exact, name):
    """The deterministic path takes x = noise to mean + std noise, whatever the sampler, as the steps grow fine."""
    mean, std = 2.0, 0.3
    noise = randn((4, 100), item_generators(0, 2)).double()
    y = samplers.sample(name, exact.gaussian(mean, std), noise, schedule("linear", 1000))
    torch.testing.assert_close(y, mean + std * noise, rtol=0, atol=5e-3)


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2)])
def test_flow_samplers_have_at_least_their_order(exact, name, order):
    mean, std = 2.0, 0.3
    noise = randn((100,), item_generators(0, 2)).double()
    errors = []
    for steps in (64, 128):
        y = samplers.sample(name, exact.gaussian_flow(mean, std), noise, schedule("linear", steps), objective="flow")
        errors.append((y - mean - std * noise).abs().mean())
    assert math.log2(errors[0] / errors[1]) > order - 0.2


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_eta_keeps_the_distribution(exact, eta):
    mean, std = 2.0, 0.3
    generators = item_generators(0, 1)
    noise = randn((50_000,), generators).double()
    y = samplers.ddim(exact.gaussian(mean, std), noise, schedule("linear", 200), eta=eta, generators=generators)
    assert y.mean().item() == pytest.approx(mean, abs=0.02)
    assert y.std().item() == pytest.approx(std, abs=0.02)
    correlation = torch.corrcoef(torch.cat([noise, y]))[0, 1]
    assert correlation < 0.9  # at eta = 0 it is 1


@pytest.mark.parametrize(("name", "eta"), [("ddim", 0.0), ("ddim", 0.7), ("ddim", 1.0), ("dpmpp_2m", 0.0)])
def test_an_item_is_the_same_alone_and_in_any_batch(name, eta):
    predict, times = lambda x, t: torch.sin(x + t) - 0.3 * x, schedule("cosine", 9)

    def run(count, first):
        generators = item_generators(11, count, first)
        return samplers.sample(name, predict, randn(SHAPE, generators), times, eta=eta, generators=generators)

    together = run(5, 0)
    for i in range(5):
        assert torch.equal(run(1, i)[0], together[i])
    assert torch.equal(run(2, 3), together[3:])


def test_starting_lower_stays_nearer_to_the_start(exact):
    data, noise = randn(SHAPE, item_generators(0, 2)), randn(SHAPE, item_generators(9, 2))
    predict = exact.gaussian(0.0, 1.0)
    moved = [
        (samplers.ddim(predict, add_noise(data, noise, t), schedule("linear", 10, t)) - data).abs().mean()
        for t in (0.1, 0.4, 0.9)
    ]
    assert moved[0] < moved[1] < moved[2]


@pytest.mark.parametrize("name", [*samplers.V_SAMPLERS, *samplers.FLOW_SAMPLERS])
def test_predict_gets_float32_times_and_the_callback_counts(name):
    seen, counts = [], []
    times = schedule("linear", 4).double()

    def predict(x, t):
        assert t.dtype == torch.float32 and t.ndim == 0 and t.device.type == "cpu" and not torch.is_grad_enabled()
        seen.append(t.item())
        return (-x).bfloat16()

    objective = "v" if name in samplers.V_SAMPLERS else "flow"
    x = torch.ones(1, 4)
    y = samplers.sample(name, predict, x, times, objective=objective, callback=lambda i, n: counts.append((i, n)))
    assert y.dtype == torch.float32
    assert counts == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(seen) == (8 if name in ("midpoint", "heun") else 4)
    assert set(times[:-1].tolist()) <= set(seen)


@pytest.mark.parametrize("name", [*samplers.V_SAMPLERS, *samplers.FLOW_SAMPLERS])
def test_constrain_sees_every_state_and_has_the_last_word(name):
    at = []

    def constrain(x, t):
        at.append(t.item())
        return torch.full_like(x, 7.0)

    objective = "v" if name in samplers.V_SAMPLERS else "flow"
    y = samplers.sample(name, lambda x, t: x, torch.ones(1, 4), schedule("linear", 4), objective=objective,
                        constrain=constrain)  # fmt: skip
    assert at == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert (y == 7).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "dim"}, "did you mean 'ddim'"),
        ({"name": "euler"}, "no sampler of a v-model is called 'euler'"),
        ({"objective": "flow"}, "no sampler of a flow-model is called 'ddim'"),
        ({"objective": "eps"}, "objective must be"),
        ({"name": "dpmpp_2m", "eta": 0.5}, "eta belongs to ddim"),
        ({"eta": 1.5}, "eta must be from 0"),
        ({"eta": 0.5}, "pass 2 generators, one an item, got 0"),
        ({"eta": 0.5, "generators": item_generators(0, 1)}, "pass 2 generators, one an item, got 1"),
        ({"times": torch.linspace(0, 1, 4)}, "times must fall"),
        ({"times": torch.tensor([1.0])}, "at least one step"),
        ({"times": torch.tensor([1.5, 0.0])}, "times must fall"),
        ({"times": torch.tensor([1.0, float("nan"), 0.0])}, "times must fall"),
        ({"x": torch.ones(2, 4, dtype=torch.int64)}, "floating-point"),
        ({"x": torch.ones(2)}, "floating-point"),
    ],
)
def test_wrong_input_is_refused(change, message):
    arguments = dict(name="ddim", predict=lambda x, t: x, x=torch.ones(2, 4), times=schedule("linear", 3)) | change
    with pytest.raises(ValueError, match=message):
        samplers.sample(**arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("name", "eta"), [("ddim", 0.0), ("ddim", 1.0), ("dpmpp_2m", 0.0)])
def test_a_cuda_device_gives_what_the_cpu_gives(name, eta):
    results = []
    for device in ("cpu", "cuda"):
        generators = item_generators(4, 3)
        noise, net = randn(SHAPE, generators, device), Net().to(device)
        y = samplers.sample(name, lambda x, t, net=net: net(x, t.to(x.device)), noise, schedule("logsnr", 10),
                            eta=eta, generators=generators)  # fmt: skip
        results.append(y.cpu())
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-3)
