"""Samplers that draw noise: the answer where the data are known, diffusers' schedulers given the same noise, and one schedule each."""

from __future__ import annotations

import pytest
import torch

from mousai.diffusion.process import FLOW, V
from mousai.diffusion.stochastic import dpmpp_2m_sde, even_in_log_level, even_in_log_snr, pingpong
from mousai.randomness import seeded_generators

SAMPLERS = {"dpmpp_2m_sde": dpmpp_2m_sde, "pingpong": pingpong}
TIMES = {"dpmpp_2m_sde": even_in_log_level(500.0, 0.3), "pingpong": even_in_log_snr(-6.2, 2.0)}


@pytest.mark.parametrize("process", [V, FLOW], ids=lambda process: process.name)
@pytest.mark.parametrize("name", SAMPLERS)
def test_known_data_come_out_and_items_are_their_own(name, process):
    data, generators = torch.randn(2, 3, 8), seeded_generators([5, 6])
    x = torch.randn(2, 3, 8)

    def predict(x, t):
        alpha, sigma = process.path.amplitudes(t)
        return process.target(data[: len(x)], (x - alpha * data[: len(x)]) / sigma, t)

    found = SAMPLERS[name](process, predict, x, TIMES[name](6, 1.0, process), generators=generators)
    torch.testing.assert_close(found, data, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("process", [V, FLOW], ids=lambda process: process.name)
def test_a_gaussian_comes_out_with_its_spread(process):
    """Data of mean 2 and standard deviation 0.5 at every place, predicted exactly, are sampled with both."""

    def predict(x, t):
        alpha, sigma = process.path.amplitudes(t)
        gain = alpha * 0.25 / (alpha**2 * 0.25 + sigma**2)
        data = 2 + gain * (x - alpha * 2)
        return process.target(data, (x - alpha * data) / sigma, t)

    x = torch.randn(1, 1, 20_000, generator=torch.Generator().manual_seed(0))
    found = dpmpp_2m_sde(process, predict, x, even_in_log_level(500.0, 0.01)(100, 1.0, process), generators=seeded_generators([1]))
    assert abs(float(found.mean()) - 2) < 0.02 and abs(float(found.std()) - 0.5) < 0.02


def test_times_are_those_of_the_released_schedulers():
    pytest.importorskip("diffusers", reason="the extra 'diffusers' is not installed")
    pytest.importorskip("torchsde", reason="diffusers' scheduler needs it")
    from diffusers import CosineDPMSolverMultistepScheduler
    from diffusers.pipelines.stable_audio_3.pipeline_stable_audio_3 import logsnr_sigma_schedule

    scheduler = CosineDPMSolverMultistepScheduler()
    scheduler.set_timesteps(25)
    torch.testing.assert_close(even_in_log_level(500.0, 0.3)(25, 1.0, V), torch.cat([scheduler.timesteps, torch.zeros(1)]))
    for strength in (1.0, 0.4):
        sigmas = logsnr_sigma_schedule(9, -6.2, 2.0, strength)
        times = even_in_log_snr(-6.2, 2.0)(9, strength, FLOW).tolist()
        assert times[-1] == 0 and times[:-1] == pytest.approx([each for i, each in enumerate(sigmas) if i == 0 or each < strength], abs=1e-6)


@pytest.mark.parametrize("steps", [2, 5, 20])  # of 1 step, diffusers' schedule has the last time alone
def test_steps_are_those_of_diffusers_given_the_same_noise(steps, monkeypatch):
    pytest.importorskip("diffusers", reason="the extra 'diffusers' is not installed")
    pytest.importorskip("torchsde", reason="diffusers' scheduler needs it")
    from diffusers.schedulers import scheduling_cosine_dpmsolver_multistep as theirs

    noise = torch.Generator().manual_seed(3)
    monkeypatch.setattr(theirs, "BrownianTreeNoiseSampler", lambda *_, **__: lambda *_: torch.randn(1, 2, 8, generator=noise).expand(1, 2, 8))
    scheduler = theirs.CosineDPMSolverMultistepScheduler()
    scheduler.set_timesteps(steps)
    start = torch.randn(1, 2, 8, generator=torch.Generator().manual_seed(4))

    def network(x, t):
        return torch.tanh(3 * x) * (1 - t) + x.roll(1, -1) * t

    x = start * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        x = scheduler.step(network(scheduler.scale_model_input(x, t), t), t, x).prev_sample
    ours = dpmpp_2m_sde(V, network, start, even_in_log_level(500.0, 0.3)(steps, 1.0, V), generators=[torch.Generator().manual_seed(3)])
    torch.testing.assert_close(ours, x, atol=2e-5, rtol=1e-4)


def test_noise_needs_a_generator_an_item():
    for name, sampler in SAMPLERS.items():
        with pytest.raises(ValueError, match=f"{name} draws noise: pass 2 generators"):
            sampler(V, lambda x, t: x, torch.randn(2, 1, 4), TIMES[name](4, 1.0, V), generators=[torch.Generator()])
