import pytest
import torch

from mousai.codecs.chunks import first_frame, overlapped
from mousai.codecs.windowed import WindowedCodec


def each(process):
    """A process of windows one by one."""
    return lambda windows, firsts: [process(window, first) for window, first in zip(windows, firsts, strict=True)]


def run(x, cuts, stride, context, ratio=1, process=None, **settings):
    seen = []

    def repeat(window, first):
        seen.append((first, window.shape[-1]))
        return window.repeat_interleave(ratio, dim=-1)

    pieces = x.split(cuts, dim=-1)
    return torch.cat(list(overlapped(each(process or repeat), pieces, stride, context, ratio, **settings)), dim=-1), seen


@pytest.mark.parametrize("length", [1, 7, 31, 32, 36, 37, 40, 41, 100, 1000])
@pytest.mark.parametrize("ratio", [1, 3])
def test_a_process_without_context_is_not_changed(length, ratio):
    x = torch.randn(2, 3, length)
    y, seen = run(x, 11, stride=32, context=4, ratio=ratio)
    torch.testing.assert_close(y, x.repeat_interleave(ratio, dim=-1))
    assert max(size for _, size in seen) <= 32 + 2 * 4


def depends_on_window(window, first):
    return window - window.mean(-1, keepdim=True) + first


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
@pytest.mark.parametrize("start", [0, 1, 2, 7, 9])
def test_batches_and_a_later_start_make_no_difference(batch, start):
    x, stride, context = torch.randn(1, 2, 333), 32, 8
    whole, _ = run(x, 333, stride, context, ratio=2, process=lambda w, f: depends_on_window(w, f).repeat_interleave(2, -1))
    first = first_frame(max(0, start - 1), stride, context)
    again, _ = run(
        x[..., first:], 50, stride, context, ratio=2, start=start, batch=batch, process=lambda w, f: depends_on_window(w, f).repeat_interleave(2, -1)
    )
    assert torch.equal(again, whole[..., max(0, 2 * start * stride - context) :])


def test_cuts_make_no_difference():
    x = torch.randn(1, 2, 333)
    whole, _ = run(x, 333, 32, 8, process=depends_on_window)
    for cut in (1, 5, 40, 100):
        assert torch.equal(run(x, cut, 32, 8, process=depends_on_window)[0], whole)


def test_windows_that_differ_are_faded_into_one_another():
    steps = torch.cat(list(overlapped(each(lambda w, first: torch.full_like(w, float(first > 0))), [torch.zeros(1, 1, 64)], 32, 8)), -1)[0, 0]
    assert steps[27] == 0 and steps[36] == 1  # half of the context on each side of the boundary
    assert (steps.diff() >= 0).all() and steps.diff().max() < 0.2


def test_a_window_shorter_than_its_context_is_refused():
    with pytest.raises(ValueError, match="stride >= context"):
        run(torch.zeros(1, 1, 10), 10, stride=4, context=5)


def test_a_codec_that_does_not_say_what_is_in_a_window_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract.*decode_windows"):
        type("Half", (WindowedCodec,), {"encode_window": lambda self, audio: audio})()
