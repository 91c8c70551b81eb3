"""One loudness on both sides of a join, and the level at which the end of a recording is heard."""

import math

import pytest
import torch

from mousai.audio.level import rms_of
from mousai.audio.loudness import measure
from mousai.pipelines.joining import FAR_SECONDS, MOST_DB, NEAR_SECONDS, Lead, gain_from, gains_after

RATE = 48000


def noise(seconds, rms, seed=0):
    return rms * torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def lufs(audio):
    return measure([audio], RATE, 2).integrated_lufs


@pytest.mark.parametrize("level", [0.02, 0.1, 0.45])
def test_a_beginning_is_brought_to_the_loudness_of_the_end(level):
    recording, new = noise(6, 0.1), noise(5, level, seed=1)
    gains = gains_after(recording, new, RATE)
    assert gains == pytest.approx([20 * math.log10(0.1 / level)] * 2, abs=0.2)
    assert lufs(new * gain_from(0, new.shape[-1], gains, RATE)) == pytest.approx(lufs(recording), abs=0.2)


def test_what_grows_after_the_join_is_held_beside_it_and_around_it():
    """The model goes on quietly and then comes to the level that it was shown: 14 dB in two seconds."""
    rise = 10 ** (torch.linspace(0, 14, 2 * RATE) / 20)
    recording, new = noise(6, 0.02), noise(8, 0.02, seed=1) * torch.cat([rise, rise[-1:].expand(6 * RATE)])
    found = new * gain_from(0, new.shape[-1], gains_after(recording, new, RATE), RATE)
    assert abs(lufs(found[:, :RATE]) - lufs(recording)) < 2.5 and abs(lufs(found[:, RATE : 4 * RATE]) - lufs(recording)) < 2.5
    assert lufs(new[:, RATE : 4 * RATE]) - lufs(recording) > 12


def test_a_pause_on_one_side_leaves_the_other_measure_and_two_leave_all_as_it_is():
    recording, silence = noise(6, 0.1), torch.zeros(2, 2 * RATE)
    near, far = gains_after(recording, torch.cat([silence, noise(2, 0.1, 1)], dim=-1), RATE)
    assert near == far and abs(far) < 1.0  # the pause is not loud enough to count
    assert gains_after(torch.zeros(2, RATE), noise(4, 0.1), RATE) == (0.0, 0.0) == gains_after(recording, torch.zeros(2, 4 * RATE), RATE)
    assert gains_after(noise(6, 0.3), noise(5, 0.003, 1), RATE) == (MOST_DB, MOST_DB)


def test_the_gain_moves_between_the_middles_of_both_measures():
    gains = 20 * torch.log10(gain_from(0, 5 * RATE, (-6.0, 2.0), RATE))
    assert gains[: round(NEAR_SECONDS / 2 * RATE)] == pytest.approx(-6.0, abs=1e-4) and gains[round(FAR_SECONDS / 2 * RATE) :] == pytest.approx(2.0, abs=1e-4)
    assert gains.diff().min() > -1e-4
    parts = [gain_from(first, count, (-6.0, 2.0), RATE) for first, count in ((0, 70_001), (70_001, RATE))]
    assert torch.equal(torch.cat(parts), gain_from(0, 70_001 + RATE, (-6.0, 2.0), RATE))


def test_the_end_of_a_recording_is_heard_at_the_models_level_unless_it_has_faded_out():
    assert Lead(noise(2, 0.02), 0.1).gain(0.1) == pytest.approx(0.1 / rms_of(noise(2, 0.02)))
    assert Lead(noise(2, 0.001), 0.1).gain(0.1) == pytest.approx(10.0) and Lead(noise(2, 0.3), 0.1).gain(0.1) == pytest.approx(1 / 3, rel=0.01)
    assert Lead(torch.zeros(2, RATE), 0.0).gain(0.1) == 1.0 == Lead(noise(2, 0.3), 0.1).gain(None)
