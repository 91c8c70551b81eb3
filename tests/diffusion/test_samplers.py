"""Every sampler on every process, against exact predictors; against audio-diffusion-pytorch; and item by item."""

import math

import pytest
import torch
from audio_diffusion_pytorch import VSampler
from torch import nn

from mousai import types
from mousai.diffusion import samplers
from mousai.diffusion.process import EPSILON, FLOW, V
from mousai.diffusion.samplers import SAMPLERS
from mousai.diffusion.schedules import NAMES, schedule
from mousai.randomness import randn, seeded_generators

SHAPE = (2, 16)
EXPONENTIAL = ("ddim", "dpmpp_2m")  # exact for a data prediction that does not change
TWICE = ("midpoint", "heun")  # ask twice a step


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


def noise_of(*seeds, shape=SHAPE):
    return randn(shape, seeded_generators(seeds))


# -- to one data point ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EXPONENTIAL)
@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 3, 20])
@pytest.mark.parametrize("t_start", [1.0, 0.4])
def test_an_exact_predictor_gives_the_data(exact, process, data, name, kind, steps, t_start):
    x = process.add_noise(data, noise_of(0, 1, 2), t_start)
    y = samplers.sample(name, process, exact.point(process, data), x, schedule(kind, steps, t_start, process))
    torch.testing.assert_close(y, data, rtol=0, atol=1e-5)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_an_exact_predictor_gives_the_data_through_fresh_noise(exact, process, data, eta):
    generators = seeded_generators(range(3))
    x = randn(SHAPE, generators)
    y = samplers.ddim(process, exact.point(process, data), x, schedule("linear", 8), eta=eta, generators=generators)
    torch.testing.assert_close(y, data, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 7])
@pytest.mark.parametrize("t_start", [1.0, 0.4])
def test_a_straight_flow_gives_the_data_in_any_number_of_steps(exact, data, name, steps, t_start):
    noise = noise_of(0, 1, 2)
    x = FLOW.add_noise(data, noise, t_start)
    y = samplers.sample(name, FLOW, exact.pair(FLOW, data, noise), x, schedule("linear", steps, t_start))
    torch.testing.assert_close(y, data, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["euler", "midpoint"])
def test_a_flow_to_one_point_arrives_there(exact, data, name):
    y = samplers.sample(name, FLOW, exact.point(FLOW, data), noise_of(0, 1, 2), schedule("linear", 6))
    torch.testing.assert_close(y, data, rtol=0, atol=1e-5)


def test_ddim_on_the_straight_path_is_euler():
    net, noise, times = Net(), noise_of(3, 4), schedule("cosine", 9)
    torch.testing.assert_close(samplers.ddim(FLOW, net, noise, times), samplers.euler(FLOW, net, noise, times), rtol=0, atol=1e-6)


# -- to a distribution ---------------------------------------------------------------------------------------------

MEAN, STD = 2.0, 0.3
ORDERS = {"ddim": 1, "euler": 1, "dpmpp_2m": 2, "midpoint": 2, "heun": 2}


def gaussian_at(process, noise, t):
    """Where the deterministic path that begins at `noise` is at t, for data N(MEAN, STD^2)."""
    alpha, sigma = process.path.amplitudes(t)
    return alpha * MEAN + math.hypot(alpha * STD, sigma) * noise


@pytest.mark.parametrize(("begin", "end"), [(1.0, 0.0), (0.9, 0.1)])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_gaussian_comes_out_as_its_closed_form_at_the_samplers_order(exact, process, name, begin, end):
    noise, errors = noise_of(0, 1, shape=(100,)).double(), []
    for steps in (64, 128):
        times, x = torch.linspace(begin, end, steps + 1), gaussian_at(process, noise, torch.tensor(begin))
        y = samplers.sample(name, process, exact.gaussian(process, MEAN, STD), x, times)
        errors.append((y - gaussian_at(process, noise, torch.tensor(end))).abs().mean())
    assert errors[1] < (0.03 if ORDERS[name] == 1 else 0.003)
    order = 1 if end == 0 and name == "dpmpp_2m" else ORDERS[name]  # lambda is infinite at both ends: its first and last steps are DDIM's
    assert math.log2(errors[0] / errors[1]) > order - 0.25


@pytest.mark.parametrize("eta", [0.5, 1.0])
def test_eta_keeps_the_distribution(exact, process, eta):
    generators = seeded_generators([0])
    noise = randn((50_000,), generators).double()
    predict = exact.gaussian(process, MEAN, STD)
    y = samplers.ddim(process, predict, noise, schedule("linear", 200), eta=eta, generators=generators)
    assert y.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert y.std().item() == pytest.approx(STD, abs=0.02)
    correlation = torch.corrcoef(torch.cat([noise, y]))[0, 1]
    assert correlation < 0.9  # at eta = 0 it is 1


@pytest.fixture(scope="module")
def mixture(exact):
    """For a process an exact predictor of three peaks, noise, and where 2000 small steps take it."""
    known = {}

    def of(process):
        if process.name not in known:
            predict = exact.mixture(process, [-1.5, 0.2, 1.0], [0.1, 0.3, 0.05], [0.3, 0.5, 0.2])
            noise = noise_of(0, shape=(2000,)).double()
            known[process.name] = predict, noise, samplers.ddim(process, predict, noise, schedule("linear", 2000))
        return known[process.name]

    return of


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize("steps", [5, 10, 20, 50])
def test_dpmpp_is_nearer_to_the_fine_answer_than_ddim(mixture, process, kind, steps):
    predict, noise, fine = mixture(process)
    times = schedule(kind, steps, process=process)
    ddim = (samplers.ddim(process, predict, noise, times) - fine).abs().mean()
    dpmpp = (samplers.dpmpp_2m(process, predict, noise, times) - fine).abs().mean()
    assert dpmpp < (0.75 if process is V else 0.9) * ddim


def test_starting_lower_stays_nearer_to_the_start(exact, process):
    data, noise = noise_of(0, 1), noise_of(9, 10)
    predict = exact.gaussian(process, 0.0, 1.0)
    moved = [
        (samplers.ddim(process, predict, process.add_noise(data, noise, t), schedule("linear", 10, t)) - data).abs().mean()
        for t in (0.1, 0.4, 0.9)
    ]
    assert moved[0] < moved[1] < moved[2]


# -- against what is published -------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [1, 5, 50])
def test_ddim_is_the_originals_sampler(steps):
    net, noise = Net(), noise_of(3, 4, 5, 6)
    reference = VSampler(net=net)(noise, num_steps=steps)
    ours = samplers.ddim(V, net, noise, schedule("linear", steps))
    assert (ours - noise).abs().mean() > 0.1
    torch.testing.assert_close(ours, reference, rtol=1e-5, atol=1e-5)


def test_dpmpp_in_two_steps_is_ddim(process):
    """The first and the last step are of first order, and that is DDIM."""
    net, noise = Net(), noise_of(3, 4, 5, 6)
    times = schedule("linear", 2)
    torch.testing.assert_close(samplers.dpmpp_2m(process, net, noise, times), samplers.ddim(process, net, noise, times))
    more = schedule("linear", 6)
    assert (samplers.dpmpp_2m(process, net, noise, more) - samplers.ddim(process, net, noise, more)).abs().max() > 1e-3


def test_dpmpp_is_its_published_update(process):
    """Algorithm 2 of arXiv 2211.01095, written out with exponentials of lambda for 20 steps from t = 0.9 to 0.1."""
    net, x = Net(), noise_of(3, 4, 5, 6)
    times = torch.linspace(0.9, 0.1, 21)
    ours = samplers.dpmpp_2m(process, net, x, times)
    alpha, sigma = torch.tensor([process.path.amplitudes(t) for t in times], dtype=torch.float64).T
    lambdas = torch.log(alpha / sigma)
    x, before = x.double(), None
    for i in range(20):
        data = process.data(x, net(x.float(), times[i]).double(), times[i])
        h, d = lambdas[i + 1] - lambdas[i], data
        if before is not None:
            r = (lambdas[i] - lambdas[i - 1]) / h
            d = (1 + 1 / (2 * r)) * data - 1 / (2 * r) * before
        x = sigma[i + 1] / sigma[i] * x - alpha[i + 1] * (torch.exp(-h) - 1) * d
        before = data
    torch.testing.assert_close(ours, x.float(), rtol=1e-5, atol=1e-5)


def test_settings_name_them_all():
    assert list(SAMPLERS) == types.SAMPLERS and NAMES == types.SCHEDULES


def test_one_of_ones_own_is_registered(monkeypatch):
    monkeypatch.setattr(samplers, "SAMPLERS", dict(SAMPLERS))
    monkeypatch.setattr(types, "SAMPLERS", known := types.SAMPLERS[:])
    samplers.register("still", lambda process, predict, x, times, callback=None: x)
    assert known[-1] == "still" and samplers.sample("still", V, None, torch.ones(1, 4), None).sum() == 4
    with pytest.raises(ValueError, match="there is one called 'ddim'"):
        samplers.register("ddim", samplers.ddim)


# -- how they are called -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "eta"), [*((name, 0.0) for name in SAMPLERS), ("ddim", 0.7), ("ddim", 1.0)])
def test_an_item_is_the_same_alone_and_in_any_batch(process, name, eta):
    predict, times = lambda x, t: torch.sin(x + t) - 0.3 * x, schedule("cosine", 9)

    def run(seeds):
        generators = seeded_generators(seeds)
        return samplers.sample(name, process, predict, randn(SHAPE, generators), times, eta=eta, generators=generators)

    together = run(range(11, 16))
    for i in range(5):
        assert torch.equal(run([11 + i])[0], together[i])
    assert torch.equal(run([14, 15]), together[3:])


@pytest.mark.parametrize("name", SAMPLERS)
def test_predict_gets_float32_times_and_the_callback_counts(process, name):
    seen, counts = [], []
    times = schedule("linear", 4).double()

    def predict(x, t):
        assert t.dtype == torch.float32 and t.ndim == 0 and t.device.type == "cpu" and not torch.is_grad_enabled()
        seen.append(t.item())
        return (-x).bfloat16()

    y = samplers.sample(name, process, predict, torch.ones(1, 4), times, callback=lambda i, n: counts.append((i, n)))
    assert y.dtype == torch.float32
    assert counts == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(seen) == (8 if name in TWICE else 4)
    begin = [0.875] if process is EPSILON else [1.0]
    assert {*begin, *times[1:-1].tolist()} <= set(seen) and max(seen) == begin[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "dim"}, "did you mean 'ddim'"),
        ({"name": "dpmpp_2m", "eta": 0.5}, "eta belongs to ddim"),
        ({"name": "euler", "eta": 0.5}, "eta belongs to ddim"),
        ({"eta": 1.5}, "eta must be from 0"),
        ({"eta": 0.5}, "pass 2 generators, one an item, got 0"),
        ({"eta": 0.5, "generators": seeded_generators([0])}, "pass 2 generators, one an item, got 1"),
        ({"times": torch.linspace(0, 1, 4)}, "times must fall"),
        ({"times": torch.tensor([1.0])}, "at least one step"),
        ({"times": torch.tensor([1.5, 0.0])}, "times must fall"),
        ({"times": torch.tensor([1.0, float("nan"), 0.0])}, "times must fall"),
        ({"x": torch.ones(2, 4, dtype=torch.int64)}, "floating-point"),
        ({"x": torch.ones(2)}, "floating-point"),
    ],
)
def test_wrong_input_is_refused(change, message):
    arguments = dict(name="ddim", process=V, predict=lambda x, t: x, x=torch.ones(2, 4), times=schedule("linear", 3)) | change
    with pytest.raises(ValueError, match=message):
        samplers.sample(**arguments)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("name", "eta"), [("ddim", 0.0), ("ddim", 1.0), ("dpmpp_2m", 0.0), ("heun", 0.0)])
def test_a_cuda_device_gives_what_the_cpu_gives(process, name, eta):
    results = []
    for device in ("cpu", "cuda"):
        generators = seeded_generators([4, 5, 6])
        noise, net = randn(SHAPE, generators, device), Net().to(device)
        y = samplers.sample(name, process, lambda x, t, net=net: net(x, t.to(x.device)), noise, schedule("logsnr", 10),
                            eta=eta, generators=generators)  # fmt: skip
        results.append(y.cpu())
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-3)
