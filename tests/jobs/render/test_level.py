"""Sections of a long piece at a level: what is brought how near, when the gain moves, and that nothing else changes."""

from __future__ import annotations

import math

import pytest
import torch

from mousai.audio.growing import GrowingWav
from mousai.audio.loudness import measure
from mousai.jobs.render.level import SectionMeters, as_it_comes, levelled, section_gains, spans_of
from mousai.request.piece import Piece, as_made

RATE = 48000


def piece(*seconds, **more):
    transition = more.pop("transition", 2.0)
    sections = [{"prompt": "a", "seconds": each} | ({"transition": transition} if index else {}) for index, each in enumerate(seconds)]
    return Piece.from_dict({"sections": sections, **more})


def noise(seconds, rms, seed=0):
    return rms * torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(seed))


def test_what_deviates_is_brought_near_and_what_hardly_does_stays():
    gains = section_gains([-14.6, -10.6, -19.2], [30, 30, 60])
    levels = [level + gain for level, gain in zip([-14.6, -10.6, -19.2], gains)]
    assert gains[0] == 0 and max(levels) - min(levels) < 5 and levels[1] > levels[0] > levels[2]
    assert section_gains([-14.0, -15.5, -13.0], [20, 20, 20]) == [0, 0, 0]
    assert section_gains([-10.0, -50.0, -math.inf], [30, 30, 30]) == [pytest.approx(-1.0, abs=0.1), 6.0, 0.0]
    assert section_gains([-math.inf, -math.inf], [30, 30]) == [0, 0]


def test_the_gain_moves_within_transitions_alone():
    of, ones = piece(10, 20, 10), [torch.ones(2, 5000)] * 384
    gain_db = 20 * torch.log10(torch.cat(list(levelled(iter(ones), of, [0.0, -6.0, 3.0], RATE)), dim=-1)[0])
    for begin, end, level in ((0, 9, 0.0), (11, 29, -6.0), (31, 40, 3.0)):
        assert torch.allclose(gain_db[begin * RATE : end * RATE], torch.tensor(level), atol=1e-3)
    assert gain_db[10 * RATE] == pytest.approx(-3.0, abs=0.01) and gain_db.diff().abs().max() < 1e-3
    cut = torch.cat(list(levelled(iter(ones), piece(20, 20, transition=0.0), [0.0, -6.0], RATE)), dim=-1)[0]
    assert cut[: round(19.97 * RATE)].eq(1).all() and 20 * math.log10(cut[round(20.03 * RATE)]) == pytest.approx(-6.0, abs=1e-3)


def test_a_loop_ends_at_the_level_with_which_it_begins():
    gains = torch.cat(list(levelled(iter([torch.ones(2, 40 * RATE)]), piece(20, 20, loop=True), [2.0, -4.0], RATE)), dim=-1)[0]
    assert gains[-1] == pytest.approx(float(gains[0]), rel=1e-3) and gains[30 * RATE] == pytest.approx(10 ** (-4 / 20), rel=1e-3)


def test_sections_are_measured_between_their_transitions_however_blocks_are_cut():
    of = piece(8, 12, 3.5, transition=2.0)
    assert spans_of(of) == [(0, 7), (9, 19), (20, 23.5)]  # little is left of the last one: all of it
    audio = torch.cat([noise(8, 0.1), noise(12, 0.02, 1), noise(3.5, 0.2, 2)], dim=-1)
    meters = SectionMeters(of, RATE, 2)
    for block in audio.split(7777, dim=-1):
        meters.add(block)
    expected = [measure([audio[:, round(first * RATE) : round(stop * RATE)]], RATE, 2).integrated_lufs for first, stop in spans_of(of)]
    assert meters.lufs == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("recording", "new"), [(0.99, 3.0), (0.99, 0.5), (2.0, 0.5)])
def test_only_what_is_beyond_full_scale_is_limited(recording, new, tmp_path):
    """A recording at full scale, or beyond it, and what goes on from it, over whose first 480 samples the recording goes on too."""
    tone = torch.sin(torch.arange(2 * RATE) * 0.05).expand(2, -1)
    audio, recorded = torch.cat([recording * tone, new * tone], dim=-1), 2 * RATE
    with GrowingWav(tmp_path / "a.wav", RATE, 2) as wav:
        wav.append(audio)
        found = torch.cat(list(as_it_comes(wav, recorded, recording * tone[:, :480], (recording, new), -1.0)), dim=-1)
    assert found.shape == audio.shape
    for part, peak in ((slice(0, recorded), recording), (slice(recorded, None), new)):
        assert torch.equal(found[:, part], audio[:, part]) == (peak <= 1)
    assert found.abs().max() <= 1
    if new > 1:
        beside, alike = slice(recorded - 100, recorded + 480), recording * tone.repeat(1, 2)[0]
        gain = (found[0] / alike)[beside][alike[beside].abs() > 0.1]
        assert gain[:50].sub(1).abs().max() < 0.02 and gain.diff().abs().max() < 0.02  # no step


def test_recipes_that_do_not_say_it_are_of_pieces_whose_sections_stayed():
    made = piece(10, 20).to_dict()
    assert "level_sections" not in made and as_made(made)["level_sections"] is False
    assert as_made(piece(10).to_dict()) == piece(10).to_dict() and as_made("nothing") == "nothing"
    assert as_made(made | {"level_sections": True})["level_sections"] is True
