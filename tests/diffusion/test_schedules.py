"""Schedules: their ends, their order, and what each is even in."""

import math

import pytest
import torch

from mousai.diffusion.process import PROCESSES
from mousai.diffusion.schedules import MAX_STEPS, NAMES, schedule


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("steps", [1, 2, 7, 50, MAX_STEPS])
@pytest.mark.parametrize("t_start", [1.0, 0.99, 0.6, 0.001])
def test_times_fall_from_t_start_to_zero(process, name, steps, t_start):
    times = schedule(name, steps, t_start, process)
    assert times.shape == (steps + 1,) and times.dtype == torch.float32 and times.device.type == "cpu"
    assert times[0] == torch.tensor(t_start) and times[-1] == 0
    assert (times.diff() < 0).all()


def test_linear_is_linspace():
    torch.testing.assert_close(schedule("linear", 13), torch.linspace(1, 0, 14), rtol=0, atol=1e-7)


def test_cosine_and_quadratic_are_their_formulas():
    u = torch.linspace(1, 0, 11)
    torch.testing.assert_close(schedule("quadratic", 10, 0.5), 0.5 * u**2, rtol=0, atol=1e-6)
    expected = 0.5 * (1 - torch.cos(math.pi * u))  # the same as sin^2
    torch.testing.assert_close(schedule("cosine", 10), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "even_in"), [("logsnr", torch.log), ("karras", lambda level: level ** (1 / 7))])
def test_logsnr_and_karras_are_even_between_their_ends(process, name, even_in):
    times = schedule(name, 12, process=process)[1:-1]
    gaps = even_in(torch.tensor([process.path.level(t) for t in times], dtype=torch.float64)).diff()
    torch.testing.assert_close(gaps, gaps[:1].expand_as(gaps), rtol=1e-4, atol=0)


@pytest.mark.parametrize("steps", [0, -3, 2.0, True, MAX_STEPS + 1])
def test_absurd_steps_are_refused(steps):
    with pytest.raises(ValueError, match="steps must be"):
        schedule("linear", steps)


@pytest.mark.parametrize("t_start", [0.0, -0.1, 1.1, float("nan")])
def test_absurd_starts_are_refused(t_start):
    with pytest.raises(ValueError, match="t_start must be"):
        schedule("linear", 4, t_start)


@pytest.mark.parametrize("name", ["logsnr", "karras"])
def test_v_is_the_process_where_none_is_said(name):
    assert torch.equal(schedule(name, 9), schedule(name, 9, process=PROCESSES["v"]))
    assert not torch.equal(schedule(name, 9), schedule(name, 9, process=PROCESSES["flow"]))


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        schedule("cosin", 4)
