"""Musical time along a piece: glides integrate, sections count on, whole bars."""

import math

import pytest
import torch

from mousai.pipelines.tempo import beats_along, gliding_beats, is_whole_bars, music_of_sections
from mousai.request.music import Music
from mousai.request.piece import Piece, Section


def summed(seconds: torch.Tensor, tempo) -> torch.Tensor:
    """Beats by a slow sum of the tempo in steps of 0.1 ms."""
    fine = (torch.arange(round(float(seconds[-1]) * 1e4), dtype=torch.float64) + 0.5) / 1e4
    over = torch.cat([torch.zeros(1, dtype=torch.float64), torch.cumsum(tempo(fine) / 60 / 1e4, 0)])
    return over[(seconds * 1e4).round().long().clamp(max=len(over) - 1)]


def test_beats_are_the_integral_of_the_tempo():
    seconds = torch.linspace(0, 40, 401, dtype=torch.float64)

    def tempo(t: torch.Tensor) -> torch.Tensor:
        first = 90 + 30 * ((t - 8) / 4).clamp(0, 1)
        return torch.where(t < 25, first, 70.0)  # a jump at 25

    found = beats_along(seconds, [90, 120, 70], [(8, 12), (25, 25)])
    torch.testing.assert_close(found, summed(seconds, tempo), atol=1e-3, rtol=0)
    assert beats_along(torch.tensor([-2.0], dtype=torch.float64), [90, 120], [(8, 12)]).item() == pytest.approx(-3)
    assert beats_along(torch.tensor([60.0], dtype=torch.float64), [90, 120], [(10, 10)]).item() == pytest.approx(15 + 100)


def piece(*tempos, **settings) -> Piece:
    return Piece(tuple(Section("techno", 20.0, transition=4.0 if index else None, bpm=bpm) for index, bpm in enumerate(tempos)), glide=True, **settings)


def test_sections_that_glide_count_the_same_beats():
    whole = piece(100, 120, 120, 90, bpm=100, metre="4/4")
    musics = music_of_sections(whole)
    assert [music.bpm for music in musics] == [100, 120, 120, 90]
    seconds = torch.arange(0, 80, 0.05, dtype=torch.float64)
    counts = [gliding_beats(whole, musics, index, seconds, 0.5) for index in range(4)]
    for other in counts[1:]:
        assert torch.equal(counts[0], other)
    assert counts[0][10].item() == pytest.approx(0)  # the downbeat at 0.5 s
    steps = counts[0].diff() / 0.05 * 60
    assert steps.min() > 89.9 and steps.max() < 120.1 and steps.diff().abs().max() < 0.6  # it never jumps


def test_a_section_of_another_metre_or_without_a_tempo_begins_anew():
    whole = piece(100, 120, 90, bpm=100, metre="4/4")
    musics = music_of_sections(whole)
    musics[2] = Music(bpm=90, metre="3/4")
    seconds = torch.arange(0, 60, 0.1, dtype=torch.float64)
    assert gliding_beats(whole, musics, 2, seconds, 0.0) is None  # one tempo: numbers say it
    assert gliding_beats(whole, musics, 1, seconds, 0.0) is not None
    assert gliding_beats(whole, music_of_sections(piece(100, 100, bpm=100)), 0, seconds, 0.0) is None


def test_a_sections_words_and_its_own_tempo_go_before_the_pieces():
    whole = Piece((Section("pads, 70 bpm", 20.0), Section("techno, 130 bpm", 20.0), Section("techno", 20.0, bpm=99)), bpm=80.0)
    assert [music.bpm for music in music_of_sections(whole)] == [80, 130, 99]


@pytest.mark.parametrize(("bpm", "metre", "seconds", "whole"), [(128, None, 7.5, True), (120, "3/4", 3.0, True), (120, "4/4", 3.0, False), (None, None, 3.3, True), (60, "4/4", 0.5, False)])
def test_whole_bars(bpm, metre, seconds, whole):
    assert is_whole_bars(Music(bpm=bpm, metre=metre), seconds) == whole


def test_the_bars_of_a_loop_meet_themselves():
    """The position of every frame of whole bars is that of the frame a loop later, to the hands of the metronome."""
    from mousai.generators.music import NUMBERS, MusicConfig, metronome

    config = MusicConfig(hop=1500)  # 32 frames a second: 7.5 s are 240 frames
    numbers = torch.tensor([[{"bpm": 128.0, "downbeat": 0.0, "metre": 0.0}.get(name, math.nan) for name in NUMBERS]], dtype=torch.float64)
    told = metronome(config, numbers, torch.zeros(1, 2, 300), [0])
    torch.testing.assert_close(told[..., 240:], told[..., :60], atol=1e-6, rtol=0)
