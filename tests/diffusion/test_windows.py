"""Long sequences in windows: closed forms, a slow loop over the whole sequence, and going on from a saved state."""

import random

import pytest
import torch
from safetensors.torch import load_file, save_file

from mousai.diffusion.process import V
from mousai.diffusion.samplers import ddim, ddim_step
from mousai.diffusion.schedules import schedule
from mousai.diffusion.windows import LOOP_PULL, STREAM, Continuation, JointDenoiser, WindowGrid
from mousai.randomness import positional_noise

TIMES = schedule("linear", 4)
GRIDS = [WindowGrid(n, 16, 4, 2) for n in (1, 3, 9, 15, 16, 17, 28, 29, 40, 77)] + [WindowGrid(61, 12, 6, 3), WindowGrid(50, 7, 3)]
METHODS = (JointDenoiser, Continuation)


def noise_of(seed, first, stop, stream=0):
    return positional_noise([seed + (stream + 1) * STREAM], first, stop, 3)[0].T


def of_window(x, t, firsts):
    """A predictor for which everything in a window matters, and where it lies."""
    place = torch.tensor(firsts)[:, None, None]
    return 0.6 * torch.tanh(x.flip(-1)) + 0.5 * x.cumsum(-1) / x.shape[-1] + torch.cos(t)[:, None, None] + 0.1 * torch.sin(place)


def of_frame(x, t, firsts=None):
    return 0.6 * torch.tanh(2 * x) + torch.cos(t).reshape(-1, 1, 1)


def run(denoiser):
    parts = []
    while denoiser.done < denoiser.total:
        if (part := denoiser.advance()) is not None:
            parts.append(part)
    return parts


def whole(kind, predict, grid, seed=5, process=V, **settings):
    return torch.cat(run(kind(process, predict, TIMES, grid, 3, seed, **settings)), -1)


def stop_of(grid):
    return grid.span(grid.count - 1)[1]


# -- the grid ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window,overlap,multiple", [(16, 4, 1), (16, 8, 8), (12, 6, 3), (12, 4, 4), (7, 3, 1), (2, 1, 1)])
def test_windows_cover_every_frame_and_no_frame_three_times(window, overlap, multiple):
    for n in range(1, 80):
        grid = WindowGrid(n, window, overlap, multiple)
        spans = [grid.span(index) for index in range(grid.count)]
        times = torch.zeros(spans[-1][1])
        for first, stop in spans:
            times[first:stop] += 1
        assert times.min() == 1 and times.max() <= 2 and len(times) >= n
        assert spans[0][0] == 0 and all(stop - first == window for first, stop in spans[:-1])
        assert all(before[1] - after[0] == overlap for before, after in zip(spans, spans[1:]))
        assert all(first % multiple == 0 and (stop - first) % multiple == 0 for first, stop in spans)
        last = spans[-1][1] - spans[-1][0]
        assert window // 2 <= last <= window and (grid.count == 1 or last > overlap)
        assert len(times) - n < max(multiple, window // 2 + multiple)  # no more beyond the end than half a window needs


@pytest.mark.parametrize(
    "values,message",
    [
        ((0, 16, 4), "num_frames >= 1"), ((9, 16, 0), "overlap from 1"), ((9, 16, 9), "to half a window"),
        ((9, 16, 4, 3), "multiples of 3"), ((9, 16, 2, 4), "multiples of 4"),
    ],
)  # fmt: skip
def test_grids_that_cannot_be_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        WindowGrid(*values)


# -- both ways -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_an_exact_predictor_gives_the_data(exact, process, kind, grid):
    data = torch.randn(3, stop_of(grid), generator=torch.Generator().manual_seed(0))

    def predict(x, t, firsts):
        return exact.point(process, torch.stack([data[:, first : first + x.shape[-1]] for first in firsts]))(x, t)

    settings = {"eta": 0.7, "batch": 3} if kind is JointDenoiser else {"resamples": 2}
    torch.testing.assert_close(whole(kind, predict, grid, process=process, **settings), data[:, : grid.num_frames], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("loop", [False, True])
def test_frames_come_a_stride_at_a_time_and_are_counted(kind, loop):
    grid = WindowGrid(61, 16, 4, 2)
    denoiser = kind(V, of_window, TIMES, grid, 3, 5, loop=loop)
    assert denoiser.done == 0 and denoiser.total == grid.count * (4 if kind is JointDenoiser else 1)
    lengths = [part.shape[-1] for part in run(denoiser)]
    assert lengths == [12, 12, 12, 12, 13] and denoiser.done == denoiser.total


@pytest.mark.parametrize("kind", METHODS)
def test_seeds_differ_and_repeat(kind):
    grid = GRIDS[-1]
    first = whole(kind, of_window, grid)
    assert torch.equal(whole(kind, of_window, grid), first)
    assert (whole(kind, of_window, grid, seed=6) - first).abs().mean() > 0.1


@pytest.mark.parametrize("settings", [{}, {"prefix": 9}, {"loop": True}, {"eta": 0.5, "kind": JointDenoiser}], ids=str)
@pytest.mark.parametrize("kind", METHODS)
def test_going_on_from_any_state_gives_the_same_to_the_bit(kind, settings, tmp_path):
    settings, grid = dict(settings), WindowGrid(61, 16, 4, 2)
    kind = settings.pop("kind", kind)
    if "prefix" in settings:
        settings["prefix"] = torch.randn(3, settings["prefix"])

    def fresh():
        return kind(V, of_window, TIMES, grid, 3, 5, **settings)

    expected, denoiser, parts = torch.cat(run(fresh()), -1), fresh(), []
    while denoiser.done < denoiser.total:
        save_file(denoiser.state(), tmp_path / "state.safetensors")
        again = fresh()
        again.restore(load_file(tmp_path / "state.safetensors"))
        assert again.done == denoiser.done
        if denoiser.done % 3 == 0:
            assert torch.equal(torch.cat([*parts, *run(again)], -1), expected)
            again.restore(load_file(tmp_path / "state.safetensors"))
        part = again.advance()  # and from the state of a state of a state …
        parts += [] if part is None else [part]
        denoiser = again
    assert torch.equal(torch.cat(parts, -1), expected)


@pytest.mark.parametrize("kind", METHODS)
def test_a_state_stays_as_it_was(kind):
    """What comes after it does not write into it."""
    denoiser = kind(V, of_window, TIMES, WindowGrid(61, 16, 4, 2), 3, 5, loop=True)
    for _ in range(3):
        denoiser.advance()
    state = denoiser.state()
    copy = {name: tensor.clone() for name, tensor in state.items()}
    run(denoiser)
    assert all(torch.equal(state[name], tensor) for name, tensor in copy.items())


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("loop", [False, True])
def test_what_is_held_does_not_grow_with_the_length(kind, loop):
    def most(count):
        denoiser, found = kind(V, of_frame, TIMES, WindowGrid(12 * count + 4, 16, 4, 2), 3, 5, loop=loop), 0
        while denoiser.done < denoiser.total:
            denoiser.advance()
            found = max(found, sum(tensor.numel() for tensor in denoiser.state().values()))
        return found

    assert most(50) == most(200) < 3 * 4 * 3 * 16 + 10


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("known", [1, 3, 9, 14, 20])
def test_what_is_known_stays_and_the_rest_hears_it(kind, known):
    grid, prefix = WindowGrid(61, 16, 4, 2), torch.randn(3, known)
    made = whole(kind, of_window, grid, prefix=prefix)
    assert torch.equal(made[:, :known], prefix)
    others = [whole(kind, of_window, grid), whole(kind, of_window, grid, prefix=prefix + 1)]
    assert all((other - made)[:, known : known + 4].abs().max() > 1e-3 for other in others)


def test_a_piece_that_is_known_as_a_whole_stays():
    prefix = torch.randn(3, 29)
    for kind in METHODS:
        assert torch.equal(whole(kind, of_window, WindowGrid(29, 16, 4, 2), prefix=prefix), prefix)


KEPT = 0.95


@pytest.fixture
def of_walk(exact, process):
    """The exact predictor of data that wanders: unit variance, correlation KEPT from frame to frame."""

    def data_of(x, alpha, sigma):
        place = torch.arange(x.shape[-1])
        power, basis = torch.linalg.eigh(KEPT ** (place[:, None] - place).abs().float())
        return (x @ basis * alpha * power / (alpha**2 * power + sigma**2)) @ basis.T

    predict = exact.of(process, data_of)
    return lambda x, t, firsts: predict(x, t)


def steps_of_walk(x):
    """The mean square of each frame's step to the next; 1 for data that wander, about 1 / (1 - KEPT) between unrelated frames."""
    return x.diff(dim=-1).square().mean(0) / (2 * (1 - KEPT))


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("num_frames", [109, 48])
@pytest.mark.parametrize("loop", [False, True])
def test_windows_of_data_that_wander_wander_across_their_seams(process, of_walk, kind, num_frames, loop):
    grid = WindowGrid(num_frames, 32, 8)
    made = torch.cat(run(kind(process, of_walk, schedule("linear", 30), grid, 400, 1, loop=loop)), -1)
    if loop:
        made = torch.cat([made[:, 8:], made[:, 8:]], -1)
    steps = steps_of_walk(made)
    assert steps.max() < 1.5 and 0.5 < steps.mean() < 1.1
    assert made.square().mean() > 0.7


def test_a_continuation_hears_more_of_what_is_known_than_joint_denoising(process, of_walk):
    """What docs/diffusion.md says of pieces that go on from a recording."""
    generator, known = torch.Generator().manual_seed(0), [torch.randn(400, generator=torch.Generator().manual_seed(1))]
    for _ in range(15):
        known.append(KEPT * known[-1] + (1 - KEPT**2) ** 0.5 * torch.randn(400, generator=generator))
    prefix, grid = torch.stack(known, 1), WindowGrid(60, 32, 8)
    at_join = []
    for kind, steps in ((JointDenoiser, 30), (Continuation, 6)):
        made = torch.cat(run(kind(process, of_walk, schedule("linear", steps), grid, 400, 1, prefix=prefix)), -1)
        at_join.append(float(steps_of_walk(made)[15]))
    assert at_join[1] < 2 < at_join[0] < 6 < 1 / (1 - KEPT)


# -- joint denoising -----------------------------------------------------------------------------------------------


def slowly(process, predict, grid, *, seed=5, eta=0.0, prefix=None, loop=False):
    """The whole sequence step by step: windows predicted one by one, averaged, stepped; what is known put in its place."""
    n, overlap, stop = grid.num_frames, grid.overlap, stop_of(grid)
    period, pulled = n - overlap, min(stop - n + overlap, grid.stride)

    def noise(stream):
        drawn = noise_of(seed, 0, stop, stream)
        return torch.cat([drawn[:, :period], drawn[:, : stop - period]], -1) if loop else drawn

    rise = (torch.arange(overlap) + 0.5) / overlap
    x = noise(0)
    for i, (t, t_next) in enumerate(zip(TIMES[:-1], TIMES[1:])):
        prediction, asked = torch.zeros_like(x), process.asked_at(t, t_next)
        for index in range(grid.count):
            first, end = grid.span(index)
            share = torch.ones(end - first)
            if index > 0:
                share[:overlap] *= rise
            if index < grid.count - 1:
                share[-overlap:] *= 1 - rise
            prediction[:, first:end] += share * predict(x[None, :, first:end], asked[None], [first])[0]
        x = ddim_step(process, *process.data_and_noise(x, prediction, t, t_next), t, t_next, eta, noise(i + 1))
        if prefix is not None:
            known = prefix.shape[-1]
            x[:, :known] = prefix if t_next == 0 else process.add_noise(prefix, noise(0)[:, :known], t_next)
        if loop:
            left = torch.cat([1 - rise, torch.zeros(stop)])[:pulled] ** (LOOP_PULL / (len(TIMES) - 1))
            x[:, period : period + pulled] = left * x[:, period : period + pulled] + (1 - left) * x[:, :pulled].clone()
    return x[:, :n]


@pytest.mark.parametrize("settings", [{}, {"eta": 1.0}, {"eta": 0.3, "prefix": 9}, {"prefix": 30}, {"loop": True}, {"loop": True, "eta": 0.5}], ids=str)
@pytest.mark.parametrize("grid", [grid for grid in GRIDS if grid.num_frames > 28], ids=str)
def test_a_stream_of_steps_equals_the_whole_step_by_step(process, settings, grid):
    settings = dict(settings)
    if "prefix" in settings:
        settings["prefix"] = torch.randn(3, min(settings["prefix"], grid.num_frames))
    torch.testing.assert_close(whole(JointDenoiser, of_window, grid, process=process, **settings), slowly(process, of_window, grid, **settings), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("grid", [grid for grid in GRIDS if grid.num_frames <= 16], ids=str)
def test_one_window_is_plain_ddim(grid):
    """Also of a predictor for which the whole window matters."""
    start = noise_of(5, 0, stop_of(grid))[None]
    plain = ddim(V, lambda x, t: of_window(x, t[None], [0]), start, TIMES)[0, :, : grid.num_frames]
    assert grid.count == 1
    torch.testing.assert_close(whole(JointDenoiser, of_window, grid), plain, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_windows_of_a_predictor_that_knows_none_are_plain_ddim(grid):
    start = noise_of(5, 0, grid.num_frames)[None]
    torch.testing.assert_close(whole(JointDenoiser, of_frame, grid), ddim(V, of_frame, start, TIMES)[0], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 3, 64])
def test_batches_make_no_difference(batch):
    grid, sizes = WindowGrid(61, 16, 4, 2), []

    def predict(x, t, firsts):
        sizes.append(len(x))
        assert len(t) == len(firsts) == len(x)
        return of_window(x, t, firsts)

    made = whole(JointDenoiser, predict, grid, batch=batch, eta=0.4, loop=True)
    torch.testing.assert_close(made, whole(JointDenoiser, of_window, grid, eta=0.4, loop=True), atol=1e-6, rtol=1e-6)
    assert max(sizes) == min(batch, 2)  # of windows two strides long, every other step has its input


class InAnyOrder(JointDenoiser):
    """Takes but one of the steps whose input is there, any one."""

    def _there(self, level, index):
        if not hasattr(self, "dice"):
            self.dice = random.Random(1)
        return super()._there(level, index) and self.dice.random() < 0.5


@pytest.mark.parametrize("settings", [{}, {"loop": True, "eta": 0.4}], ids=str)
def test_the_order_of_the_steps_makes_no_difference(settings):
    grid = WindowGrid(61, 16, 4, 2)
    made, expected = (whole(kind, of_window, grid, **settings) for kind in (InAnyOrder, JointDenoiser))
    torch.testing.assert_close(made, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("num_frames", [29, 40, 77])
def test_a_loop_ends_as_it_begins(num_frames):
    made, overlap = whole(JointDenoiser, of_window, WindowGrid(num_frames, 16, 8, 2), loop=True), 8
    beginning, repeated = made[:, :overlap], made[:, -overlap:]
    apart = (beginning - repeated).abs().mean(0)
    assert apart[-1] < 0.02 * made.std() and apart[-1] <= apart[0]
    straight = whole(JointDenoiser, of_window, WindowGrid(num_frames, 16, 8, 2))
    assert (straight[:, :overlap] - straight[:, -overlap:])[:, -1].abs().mean() > 0.1 * made.std()


@pytest.mark.parametrize("num_frames", [29, 40, 77, 200])
def test_the_noise_of_a_loop_goes_round(num_frames):
    grid = WindowGrid(num_frames, 16, 4, 2)
    denoiser = JointDenoiser(V, of_frame, TIMES, grid, 3, 5, loop=True)
    noise = torch.cat([denoiser.noise(0, first, first + 12) for first in range(0, num_frames, 12)], -1)
    period = num_frames - 4
    assert torch.equal(noise[:, :period], noise_of(5, 0, period))
    assert torch.equal(noise[:, period:num_frames], noise[:, :4])
    made = whole(JointDenoiser, of_frame, grid, loop=True)  # a predictor that knows no window gives the same for it
    assert torch.allclose(made[:, -4:], made[:, :4], atol=1e-6)


@pytest.mark.parametrize("eta", [-0.1, 1.1])
def test_an_eta_that_cannot_be_is_refused(eta):
    with pytest.raises(ValueError, match="eta must be from 0"):
        JointDenoiser(V, of_frame, TIMES, GRIDS[0], 3, 5, eta=eta)


# -- continuation --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", [grid for grid in GRIDS if grid.num_frames > 16], ids=str)
def test_a_window_begins_with_what_the_one_before_ended_with(grid):
    denoiser = Continuation(V, of_window, TIMES, grid, 3, 5, resamples=2)
    denoiser.advance()
    while denoiser.done < denoiser.total:
        shared = denoiser.state()["shared"]
        part = denoiser.advance()
        assert shared.shape[-1] == grid.overlap and torch.equal(part[:, : grid.overlap], shared[:, : part.shape[-1]])


def test_each_step_of_a_continuation_is_done_as_often_as_asked():
    calls = []

    def predict(x, t, firsts):
        calls.append((firsts, tuple(x.shape), tuple(t.shape)))
        return of_window(x, t, firsts)

    whole(Continuation, predict, WindowGrid(29, 16, 4, 2), resamples=3)
    each = 4 * 3
    assert calls == each * [([0], (1, 3, 16), (1,))] + each * [([12], (1, 3, 16), (1,))] + each * [([24], (1, 3, 8), (1,))]


def test_each_window_of_a_continuation_has_noise_of_its_own():
    begun = {}

    def predict(x, t, firsts):
        begun.setdefault(firsts[0], x[0, :, -4:])
        return of_window(x, t, firsts)

    whole(Continuation, predict, WindowGrid(40, 16, 4, 2))
    correlation = torch.corrcoef(torch.stack([x.flatten() for x in begun.values()])) - torch.eye(3)
    assert list(begun) == [0, 12, 24] and correlation.abs().max() < 0.7


@pytest.mark.parametrize("num_frames", [29, 31, 40, 41, 53, 77])
def test_a_loop_by_continuation_closes_exactly(num_frames):
    grid = WindowGrid(num_frames, 16, 4, 2)
    made = whole(Continuation, of_window, grid, loop=True, resamples=2)
    assert torch.equal(made[:, -4:], made[:, :4])
    assert not torch.equal(made, whole(Continuation, of_window, grid, resamples=2))
