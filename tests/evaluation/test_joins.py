"""Joins are found where there are some, and only there."""

from __future__ import annotations

import pytest
import torch

from mousai.codecs.chunks import overlapped
from mousai.evaluation.codec_joins import JoinJudge
from mousai.evaluation.joins import change_across, dip_within, flux_within, grid_test, join_places, mean_within

RATE, HOP, STRIDE, CONTEXT = 48000, 1024, 64, 8
PIECES, FRAMES = 4, 300  # latent frames a piece


@pytest.mark.parametrize("length", [1, 8, 32, 40, 41, 72, 73, 200])
def test_joins_lie_where_windows_meet(length: int) -> None:
    """The windows of codecs/chunks.py begin, but for their context, at the places."""
    starts = []
    list(overlapped(lambda windows, firsts: starts.extend(firsts) or windows, [torch.zeros(1, 1, length)], stride=32, context=8))
    assert [first + 8 for first in starts[1:]] == join_places(length, 32, 8)


def test_curves_against_a_slow_loop() -> None:
    features, gap, width = torch.randn(3, 40, generator=torch.Generator().manual_seed(0)), 2, 5
    across, dip, flux = (curve(features, gap, width) for curve in (change_across, dip_within, flux_within))
    usable = range(gap + width, 40 - gap - width + 1)
    for place in range(40):
        if place not in usable:
            assert across[place].isnan() and dip[place].isnan() and flux[place].isnan()
            continue
        before, after = features[:, place - gap - width : place - gap].mean(1), features[:, place + gap : place + gap + width].mean(1)
        inside = features[:, place - gap : place + gap].mean(1)
        steps = [(features[:, i + 1] - features[:, i]).abs().mean() for i in range(place - gap - 1, place + gap)]
        assert across[place].item() == pytest.approx((after - before).abs().mean().item(), abs=1e-6)
        assert dip[place].item() == pytest.approx(((before + after) / 2 - inside).mean().item(), abs=1e-6)
        assert flux[place].item() == pytest.approx(torch.stack(steps).mean().item(), abs=1e-6)
    mean = mean_within(features[0], gap)
    assert mean[7].item() == pytest.approx(features[0, 5:9].mean().item(), abs=1e-6)
    with pytest.raises(ValueError, match="under half of 40 frames"):
        change_across(features, 10, 11)


def test_chance_is_called_chance_nineteen_times_in_twenty() -> None:
    generator = torch.Generator().manual_seed(0)
    places = [range(50, 1000, 50)] * 3
    tests = [grid_test([torch.rand(1000, generator=generator) for _ in places], places, 50, 5, seed) for seed in range(60)]
    assert sum(test.found for test in tests) <= 5
    assert sum(test.low <= test.at_joins <= test.high for test in tests) >= 52
    assert sum(test.ratio for test in tests) / 60 == pytest.approx(1, abs=0.02)


def test_a_higher_curve_at_the_joins_is_found() -> None:
    curve = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    curve[50::50] += 0.5
    found = grid_test([curve], [range(50, 1000, 50)], 50, 5)
    assert found.found and found.joins == 19 and found.p < 0.01
    assert found.ratio == pytest.approx(2, abs=0.3) and found.elsewhere == pytest.approx(0.5, abs=0.05)
    with pytest.raises(ValueError, match="longer pieces"):
        grid_test([curve], [[]], 50, 5)
    with pytest.raises(ValueError, match="leave frames between"):
        grid_test([curve], [range(50, 1000, 50)], 50, 25)


def test_nothing_at_all_is_not_found() -> None:
    """Windows that give what the whole gives, but for rounding."""
    rounding = 1e-8 * torch.rand(1000, generator=torch.Generator().manual_seed(0))
    rounding[50::50] *= 100
    found = grid_test([rounding], [range(50, 1000, 50)], 50, 5)
    assert not found.found and found.ratio is None
    rounding[50::50] = 1.0
    assert grid_test([rounding], [range(50, 1000, 50)], 50, 5).found


def judged(fault: str = "") -> JoinJudge:
    """Pieces of noise of changing level and colour, decoded with noise added and latents that are a little off; with a fault at the joins."""
    judge = JoinJudge(STRIDE, CONTEXT, HOP, RATE)
    generator = torch.Generator().manual_seed(1)
    for _ in range(PIECES):
        slow = torch.nn.functional.interpolate(torch.rand(1, 1, 60, generator=generator) + 0.3, FRAMES * HOP, mode="linear")[0]
        original = 0.1 * slow * torch.randn(2, FRAMES * HOP, generator=generator)
        decoded = original + 0.03 * slow * torch.randn(original.shape, generator=generator)
        whole = torch.randn(4, FRAMES, generator=generator)
        windowed = whole + 0.05 * torch.randn(whole.shape, generator=generator)
        window = torch.arange(FRAMES).div(STRIDE, rounding_mode="floor")
        if fault == "level":
            decoded = decoded * torch.where(window % 2 == 0, 1.0, 10 ** (1.0 / 20)).repeat_interleave(HOP)
        for place in join_places(FRAMES, STRIDE, CONTEXT):
            fade = slice((place - CONTEXT // 2) * HOP, (place + CONTEXT // 2) * HOP)
            if fault == "dip":
                decoded[:, fade] *= 10 ** (-1.5 / 20)
            elif fault == "click":
                decoded[:, place * HOP : place * HOP + 48] += 1.0
            elif fault == "latents":
                windowed[:, place - 2 : place + 2] += 0.2
        judge.add(original, decoded, windowed, whole)
    return judge


def found_by(judge: JoinJudge) -> set[str]:
    verdict = judge.verdict()
    names = {f"{who}: {what}" for what, row in verdict.decoding.items() for who, test in row.items() if test.found}
    return names | {what for what, test in verdict.encoding.items() if test.found}


def test_without_joins_nothing_is_found() -> None:
    judge = judged()
    verdict = judge.verdict()
    assert len(found_by(judge)) <= 1  # of 14 tests with 2.5 % each
    assert verdict.smallest_step_found_db is not None and verdict.smallest_step_found_db <= 0.5
    assert f"{PIECES * 4} joins" in verdict.table()


@pytest.mark.parametrize(
    ("fault", "shown_by"),
    [
        ("level", "error: level, change across"),
        ("dip", "error: level, dip within (dB)"),
        ("click", "error: spectrum, change from frame to frame within"),
        ("latents", "latents, rms distance of those of windows from those of the whole"),
    ],
)
def test_faults_at_the_joins_are_found(fault: str, shown_by: str) -> None:
    assert shown_by in found_by(judged(fault))


def test_windows_must_fit_the_frames_that_are_looked_at() -> None:
    with pytest.raises(ValueError, match="a multiple of 512 samples"):
        JoinJudge(5, 2, 100, RATE)
