"""A loop in one window that goes round: exact prediction gives the data, nothing begins or ends in it, states go on."""

import pytest
import torch

from mousai.diffusion.process import PROCESSES
from mousai.diffusion.ring import Ring
from mousai.diffusion.schedules import schedule
from mousai.diffusion.windows import WindowGrid


def ring(predict, grid, steps=6, **how) -> Ring:
    return Ring(PROCESSES["v"], predict, schedule("linear", steps), grid, 3, 5, **how)


def run(made: Ring) -> torch.Tensor:
    found = None
    while made.done < made.total:
        assert found is None
        found = made.advance()
    return found


@pytest.mark.parametrize(("frames", "window", "overlap"), [(20, 28, 8), (20, 48, 8), (7, 40, 4), (3, 8, 4)])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_an_exact_predictor_gives_the_loop(frames, window, overlap, eta):
    data = torch.randn(3, frames, generator=torch.Generator().manual_seed(0))
    process = PROCESSES["v"]

    def exact(x: torch.Tensor, t: torch.Tensor, firsts: list[int]) -> torch.Tensor:
        assert firsts == [0] and x.shape == (1, 3, window)
        whole = data[:, torch.arange(window) % frames][None]
        alpha, sigma = process.path.alpha_sigma(t)
        return alpha * (x - alpha * whole) / sigma - sigma * whole

    made = run(ring(exact, WindowGrid(frames + overlap, window, overlap), eta=eta))
    torch.testing.assert_close(made, data[:, torch.arange(frames + overlap) % frames], atol=1e-4, rtol=1e-4)


def blurred(x: torch.Tensor, t: torch.Tensor, firsts: list[int]) -> torch.Tensor:
    """A predictor that hears its neighbours, and zeros beyond its window."""
    return torch.nn.functional.avg_pool1d(x, 5, 1, 2) - 0.3 * x


def test_nothing_begins_in_a_loop():
    """Turned by some frames the same noise gives the same loop, turned, but for what the window's two ends cannot hear."""
    frames, overlap = 24, 8
    made = ring(blurred, WindowGrid(frames + overlap, frames + overlap, overlap))
    other = ring(blurred, WindowGrid(frames + overlap, frames + overlap, overlap))
    other.x = made.x.roll(9, 1)
    one, two = run(made)[:, :frames], run(other)[:, :frames]
    assert (one.roll(9, 1) - two).abs().mean() < 0.05 * one.abs().mean()


def test_a_state_goes_on_to_the_bit():
    grid = WindowGrid(28, 48, 8)
    whole = run(ring(blurred, grid, eta=0.5))
    begun = ring(blurred, grid, eta=0.5)
    begun.advance(), begun.advance()
    again = ring(blurred, grid, eta=0.5)
    again.restore(begun.state())
    assert torch.equal(run(again), whole)


def test_a_window_that_is_too_short_is_refused():
    with pytest.raises(ValueError, match="as long as a loop"):
        ring(blurred, WindowGrid(40, 32, 8))
