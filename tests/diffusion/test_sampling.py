"""`sample_latents`: a generator of a few lines has every sampler, schedule, start and inpainting on every process."""

import pytest
import torch

from mousai.diffusion import samplers
from mousai.diffusion.guidance import guided
from mousai.diffusion.samplers import SAMPLERS
from mousai.diffusion.sampling import PLAIN, sample_latents
from mousai.diffusion.schedules import NAMES, schedule, start_time, strength_from
from mousai.types import Condition, SamplingSettings

STD = 0.1


class Told:
    """Gaussian data whose mean is the number that it is told, 0 for "no condition"; exact on any process."""

    latent_channels, frame_multiple, sampling = 2, 4, SamplingSettings(steps=30, guidance=1.0)

    def __init__(self, process, exact):
        self.process, self.exact, self.asked = process, exact, []

    def sample(self, condition, num_frames, **how):
        return sample_latents(self, condition, num_frames, **how)

    def predictor(self, conditions, settings, times):
        means = torch.tensor([0.0 if each is None else float(each.numbers["mean"]) for each in conditions])

        def predict(x, t, which, first):
            self.asked.append((tuple(x.shape), list(first)))
            return self.exact.gaussian(self.process, means[which][:, None, None], STD)(x, t)

        return guided(self.process, predict, settings)


@pytest.fixture
def told(process, exact):
    return Told(process, exact)


def means(*values):
    return Condition(numbers={"mean": torch.tensor(values)})


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_gives_each_item_its_own(told, sampler):
    made = told.sample(means(1.0, -2.0), 4001, seeds=[5, 6], settings=SamplingSettings(sampler=sampler, steps=60))
    assert made.shape == (2, 2, 4001) and told.asked[0] == ((2, 2, 4004), [0, 0])
    assert made.mean((1, 2)).tolist() == pytest.approx([1.0, -2.0], abs=0.06)
    assert made.std((1, 2)).tolist() == pytest.approx([STD, STD], abs=0.03)
    alone = told.sample(means(-2.0), 4001, seeds=[6], settings=SamplingSettings(sampler=sampler, steps=60))
    torch.testing.assert_close(alone[0], made[1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("schedule", NAMES)
def test_every_schedule_and_eta_serve(told, schedule):
    made = told.sample(means(1.0), 2000, seeds=[5], settings=SamplingSettings(schedule=schedule, eta=1.0, steps=60))
    assert made.mean().item() == pytest.approx(1.0, abs=0.02) and made.std().item() == pytest.approx(STD, abs=0.03)


@pytest.mark.parametrize("negative", [None, 3.0])
def test_guidance_leads_away_from_no_condition_or_from_the_negative_one(told, negative):
    how = {"negative": None if negative is None else means(negative), "settings": SamplingSettings(guidance=2.0, sampler="dpmpp_2m")}
    made = told.sample(means(1.0), 400, seeds=[5], **how)
    assert made.mean().item() == pytest.approx(2.0 if negative is None else -1.0, abs=0.1)


def test_a_start_is_left_the_farther_the_larger_the_strength(told):
    init = torch.full((1, 2, 64), 3.0)
    made = [told.sample(means(1.0), 64, seeds=[5], init=init, strength=strength).mean().item() for strength in (0.03, 0.3, 1.0)]
    assert made[0] > 2 > made[1] > made[2] > 0.9
    from_noise = told.sample(means(1.0), 64, seeds=[5])
    assert torch.equal(told.sample(means(1.0), 64, seeds=[5], init=init), from_noise)


def test_what_is_kept_stays_and_the_rest_is_made(told):
    init, keep = torch.full((2, 2, 63), 3.0), torch.arange(63)[None, None] < 20
    counts = []
    settings = SamplingSettings(steps=10, resamples=2)
    made = told.sample(means(1.0, 0.0), 63, seeds=[5, 6], init=init, keep=keep, settings=settings, callback=lambda i, n: counts.append((i, n)))
    assert torch.equal(made[..., :20], init[..., :20]) and counts[-1] == (20, 20)
    assert made[..., 20:].mean((1, 2)).tolist() == pytest.approx([1.0, 0.0], abs=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [1]}, "one seed an item, 2; came 1"),
        ({"strength": 0.5}, "needs init; came 0.5"),
        ({"keep": torch.ones(1, 1, 8, dtype=torch.bool)}, "needs init"),
        ({"init": torch.zeros(2, 2, 9)}, "init: expected \\(2, 2, 8\\), came \\(2, 2, 9\\)"),
        ({"init": torch.zeros(2, 2, 8), "strength": 0.0}, "above 0"),
    ],
)
def test_what_cannot_be_is_refused(told, change, message):
    with pytest.raises(ValueError, match=message):
        told.sample(means(1.0, 2.0), 8, **{"seeds": [1, 2]} | change)


def test_everything_is_said_of_a_plain_sample():
    assert set(PLAIN.said()) == {"steps", "guidance", "sampler", "schedule", "eta", "rescale", "interval", "apg", "apg_norm", "hold", "resamples"}


# -- strength ----------------------------------------------------------------------------------------------------------


def timbre(process, exact, wanted, num_frames):
    """A prompt's data: one value that all frames have in common, N(wanted, 1), and 0.3 of each frame's own; the posterior mean."""

    def data_of(x, a, s):
        known = a / (0.3**2 * a**2 + s**2)
        common = (wanted + known * x.sum(-1, keepdim=True)) / (1 + num_frames * a * known)
        return common + 0.3**2 * known * (x - a * common)

    return exact.of(process, data_of)


@pytest.mark.parametrize("num_frames", [8, 100])
def test_each_strength_is_nearer_to_the_prompt(process, exact, num_frames):
    """A recording whose common value is 3, varied towards 0: what holds over all frames is seen through noise."""
    predict, generator = timbre(process, exact, 0.0, num_frames), torch.Generator().manual_seed(0)
    init = 3 + 0.3 * torch.randn(64, 1, num_frames, generator=generator, dtype=torch.float64)

    def left(t_start):
        noise, times = torch.randn(init.shape, generator=generator, dtype=torch.float64), schedule("linear", 30, t_start, process)
        return samplers.sample("ddim", process, predict, process.add_noise(init, noise, times[0]), times).mean().item()

    lefts = [left(start_time(step / 10)) for step in range(1, 11)]
    assert all(after < before + 0.15 for before, after in zip(lefts, lefts[1:]))  # but for what 64 draws leave
    assert lefts[0] > 2.9 and abs(lefts[-1]) < 0.4
    if num_frames == 8:
        assert left(0.5) > lefts[4] + 0.2  # where the strength itself was the time


def test_a_strength_comes_back_from_its_time():
    for strength in (0.01, 0.4, 0.6, 0.7, 1.0):
        assert strength_from(start_time(strength)) == pytest.approx(strength, abs=1e-12) and strength <= start_time(strength) <= 1
    for time in (0.4, 0.5, 0.6, 0.7):  # as recipes of before have it: to the bit of what a schedule keeps
        assert torch.equal(schedule("linear", 30, start_time(strength_from(time))), schedule("linear", 30, time))
