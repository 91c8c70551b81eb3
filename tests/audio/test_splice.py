"""New audio in a recording: what stays, what the joins sound like, levels that are made up for."""

from __future__ import annotations

import math

import pytest
import torch

from mousai.audio.splice import FADE_SECONDS, crossfade, splice

RATE = 48000


def noise(seed: int, seconds: float = 3.0, level: float = 0.1) -> torch.Tensor:
    return level * torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def rms(audio: torch.Tensor) -> float:
    return float(audio.square().mean().sqrt())


@pytest.mark.parametrize(("start", "stop"), [(RATE, 2 * RATE), (0, RATE), (2 * RATE, 3 * RATE), (RATE, RATE + 1), (RATE, RATE + 7)])
def test_outside_everything_is_the_recording_and_inside_it_is_new(start, stop):
    recording, new = noise(0), noise(1)
    out = splice(recording, new, start, stop, RATE)
    assert out.shape == recording.shape
    assert torch.equal(out[:, :start], recording[:, :start]) and torch.equal(out[:, stop:], recording[:, stop:])
    fade = round(FADE_SECONDS * RATE)
    if stop - start > 2 * fade:
        inner = slice(start + (fade if start else 0), stop - (fade if stop < 3 * RATE else 0))
        scale = rms(out[:, inner]) / rms(new[:, inner])
        torch.testing.assert_close(out[:, inner], new[:, inner] * scale, atol=3e-3, rtol=0)  # but for the level's slow change


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_the_level_is_the_recordings_on_both_sides_of_a_join_and_at_it(factor):
    """Unrelated noise at another level: 20 ms pieces across the join have the power of those elsewhere."""
    recording, new = noise(0), noise(1, level=0.1 * factor)
    out = splice(recording, new, RATE, 2 * RATE, RATE)
    levels = 20 * torch.log10(out.unfold(1, 960, 960).square().mean((0, 2)).sqrt() / 0.1)
    assert levels.abs().max() < 1.0
    near = levels[[49, 50, 51, 98, 99, 100]]
    assert near.abs().max() < 0.7


def test_levels_differ_from_one_join_to_the_other():
    """A recording that is twice as loud after the span as before: the new part grows steadily."""
    recording, new = noise(0), noise(1)
    recording[:, 2 * RATE :] *= 2
    out = splice(recording, new, RATE, 2 * RATE, RATE)
    quarter = [rms(out[:, RATE + i * RATE // 4 : RATE + (i + 1) * RATE // 4]) for i in range(4)]
    assert quarter == sorted(quarter) and quarter[0] == pytest.approx(0.11, abs=0.01) and quarter[3] == pytest.approx(0.18, abs=0.015)


def test_silence_and_huge_differences_do_no_harm():
    recording, new = torch.zeros(2, 3 * RATE), noise(1)
    out = splice(recording, new, RATE, 2 * RATE, RATE)
    assert out.isfinite().all() and rms(out[:, RATE + 2000 : 2 * RATE - 2000]) == pytest.approx(0.1, rel=0.02)
    loud = splice(noise(0, level=0.9), noise(1, level=0.002), RATE, 2 * RATE, RATE)
    assert rms(loud[:, RATE + 2000 : 2 * RATE - 2000]) == pytest.approx(0.002 * 10 ** (9 / 20), rel=0.05)
    assert splice(noise(0), torch.zeros(2, 3 * RATE), RATE, 2 * RATE, RATE).isfinite().all()


def test_one_tone_goes_on_as_itself_and_another_at_constant_power():
    time = torch.arange(4800) / RATE
    tone = torch.sin(2 * math.pi * 440 * time)[None]
    torch.testing.assert_close(crossfade(tone, tone), tone, atol=1e-6, rtol=0)
    shifted = torch.cos(2 * math.pi * 440 * time)[None]
    powers = crossfade(tone, shifted).unfold(1, 480, 480).square().mean(-1)
    assert (10 * torch.log10(powers / 0.5)).abs().max() < 1.1
    opposite = crossfade(tone, -tone)
    assert opposite.isfinite().all() and opposite.abs().max() <= 1.5


def test_batches_and_what_does_not_fit():
    recording, new = torch.stack([noise(0), noise(2)]), torch.stack([noise(1), noise(3)])
    out = splice(recording, new, 10, 5000, RATE)
    torch.testing.assert_close(out[1], splice(recording[1], new[1], 10, 5000, RATE))
    for start, stop in ((5, 5), (-1, 5), (0, 3 * RATE + 1)):
        with pytest.raises(ValueError, match="start < stop"):
            splice(recording, new, start, stop, RATE)
    with pytest.raises(ValueError, match="equal shapes"):
        splice(recording, new[:1], 0, 5, RATE)
