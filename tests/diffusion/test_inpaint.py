"""Inpainting: the known part to the bit, the rest in accordance with it."""

import pytest
import torch

from mousai.diffusion.inpaint import back, inpaint
from mousai.diffusion.process import V
from mousai.diffusion.schedules import schedule
from mousai.randomness import randn, seeded_generators

SHAPE = (2, 12)
KEEP = (torch.arange(12) < 7).expand(1, 1, 12)


def run(process, predict, data, *, first=0, keep=KEEP, times=schedule("linear", 6), **options):
    generators = seeded_generators(range(3 + first, 3 + first + len(data)))
    return inpaint(process, predict, randn(SHAPE, generators), data, keep, times, generators=generators, **options)


@pytest.fixture
def data():
    return randn(SHAPE, seeded_generators(range(100, 103)))


@pytest.mark.parametrize("options", [{}, {"resamples": 1, "eta": 0.0}, {"resamples": 3, "eta": 0.5}])
@pytest.mark.parametrize("t_start", [1.0, 0.5])
def test_the_known_part_is_exact_and_the_rest_is_sampled(exact, process, data, options, t_start):
    y = run(process, exact.gaussian(process, 5.0, 0.1), data, times=schedule("linear", 6, t_start), **options)
    known = KEEP.expand_as(data)
    assert torch.equal(y[known], data[known])
    assert (y[~known] - data[~known]).abs().min() > 0.1


@pytest.mark.parametrize("options", [{}, {"resamples": 1, "eta": 0.0}, {"resamples": 3, "eta": 0.5}])
def test_an_exact_predictor_gives_the_data(exact, process, data, options):
    torch.testing.assert_close(run(process, exact.point(process, data), data, **options), data, rtol=0, atol=1e-5)


def test_an_item_is_the_same_alone_and_in_any_batch(process, data):
    predict = lambda x, t: torch.sin(x + t) - 0.3 * x.flip(-1)  # noqa: E731
    together = run(process, predict, data, resamples=3)
    for i in range(3):
        assert torch.equal(run(process, predict, data[i : i + 1], first=i, resamples=3)[0], together[i])


def correlated(exact, process):
    """The exact predictor for data of two coordinates, N(0, 1) each with correlation 0.9."""
    covariance = torch.tensor([[1.0, 0.9], [0.9, 1.0]])

    def data_of(x, a, s):
        gain = a * torch.linalg.inv(a * a * covariance + s * s * torch.eye(2)) @ covariance
        return torch.einsum("bdl,de->bel", x, gain)

    return exact.of(process, data_of)


def test_resampling_brings_the_new_part_to_what_the_known_one_implies(exact, process):
    """Given 1.5, the other coordinate is N(1.35, 0.44^2); at the same 50 evaluations resampling gets nearer."""
    data = torch.zeros(1000, 2, 1)
    data[:, 0] = 1.5
    keep = torch.tensor([[[True], [False]]])
    means, predict = {}, correlated(exact, process)
    for steps, resamples in ((50, 1), (10, 5)):
        generators = seeded_generators(range(1000))
        noise = randn((2, 1), generators)
        times = schedule("linear", steps)
        y = inpaint(process, predict, noise, data, keep, times, resamples=resamples, generators=generators)
        means[resamples] = y[:, 1].mean().item()
    assert 0.5 < means[1] < 1.1
    assert means[5] == pytest.approx(1.35, abs=0.2)


@pytest.mark.parametrize(("t", "t_back"), [(0.3, 0.5), (0.0, 0.2), (0.8, 1.0)])
def test_going_back_is_data_with_noise_at_the_earlier_time(process, data, t, t_back):
    noise, fresh = randn(SHAPE, seeded_generators(range(1, 4))), randn(SHAPE, seeded_generators(range(50, 53)))
    x = process.add_noise(data, noise, t)
    x_back, noise_back = back(process, x, noise, torch.tensor(t), torch.tensor(t_back), fresh)
    torch.testing.assert_close(x_back, process.add_noise(data, noise_back, t_back), rtol=0, atol=1e-6)
    gain = torch.linalg.lstsq(torch.stack([noise.flatten(), fresh.flatten()], 1), noise_back.flatten()).solution
    assert gain.norm().item() == pytest.approx(1.0, abs=1e-5)  # two independent normals to one
    assert gain[1] > 0.1


def test_the_callback_counts_every_pass(exact, process, data):
    counts = []
    run(process, exact.point(process, data), data, resamples=2, callback=lambda i, n: counts.append((i, n)))
    assert counts == [(i, 12) for i in range(1, 13)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": KEEP.long()}, "keep must be boolean"),
        ({"keep": KEEP.float()}, "keep must be boolean"),
        ({"keep": KEEP[..., :5]}, "does not broadcast"),
        ({"keep": KEEP[0]}, "does not broadcast"),
        ({"resamples": 0}, "resamples must be"),
        ({"eta": 2.0}, "eta must be"),
        ({"times": torch.tensor([1.0, 0.5])}, "must end at 0"),
    ],
)
def test_wrong_input_is_refused(exact, data, change, message):
    with pytest.raises(ValueError, match=message):
        run(V, exact.point(V, data), data, **change)


def test_missing_generators_and_wrong_noise_are_refused(exact, data):
    times = schedule("linear", 4)
    with pytest.raises(ValueError, match="pass 3 generators"):
        inpaint(V, exact.point(V, data), torch.zeros_like(data), data, KEEP, times)
    with pytest.raises(ValueError, match="must have data's shape"):
        inpaint(V, exact.point(V, data), torch.zeros(3, 2, 11), data, KEEP, times, generators=seeded_generators(range(3)))
