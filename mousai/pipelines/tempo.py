"""Musical time along a piece: the music of each section, the beats that are over at any moment where its tempo glides, loops of whole bars."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from mousai.request.music import Music, in_words
from mousai.request.piece import Piece
from mousai.theory import METRES


def music_of_sections(piece: Piece) -> list[Music]:
    """The music of each section of a piece that is settled: its own tempo, what its prompt says, the piece's."""
    music = piece.music()
    found = []
    for index, section in enumerate(piece.sections):
        own = Music() if section.bpm is None else Music(bpm=section.bpm)
        found.append(own.over(in_words(section.prompt)).over(music) if index else own.over(music))
    return found


def beats_along(seconds: Tensor, tempos: Sequence[float], glides: Sequence[tuple[float, float]]) -> Tensor:
    """How many beats are over at `seconds` float64, none at 0: the integral of a tempo that goes evenly from each of `tempos` to the next within each of `glides`.

    Tempos are beats a minute, glides (begin, end) in seconds, one fewer, in order, none of which begins before the one before it ends.
    """
    knots = [0.0, *(edge for glide in glides for edge in glide)]
    rates = [tempos[0] / 60, *(tempo / 60 for pair in pairwise(tempos) for tempo in pair)]
    spans = [(after - before, (first + last) / 2) for (before, after), (first, last) in zip(pairwise(knots), pairwise(rates))]
    over = [0.0, *accumulate(span * mean for span, mean in spans)]
    bends = [(last - first) / span if span > 0 else 0.0 for (span, _), (first, last) in zip(spans, pairwise(rates))] + [0.0]
    at, rate, before, bend = (torch.tensor(values, dtype=torch.float64) for values in (knots, rates, over, bends))
    number = (torch.searchsorted(at, seconds, right=True) - 1).clamp(min=0)
    late = seconds - at[number]
    return before[number] + rate[number] * late + torch.where(late > 0, 0.5 * bend[number] * late**2, 0.0)


def gliding_beats(piece: Piece, musics: Sequence[Music], index: int, seconds: Tensor, downbeat: float) -> Tensor | None:
    """How many beats since a downbeat are over at `seconds` of a piece as section `index` counts them; None where its tempo stays as it is.

    Sections whose tempo glides count on from one to the next. A section without a tempo or of another metre begins anew
    with its first bar; the bars of the first section begin at `downbeat`.
    """
    def alike(one: Music, other: Music) -> bool:
        return None not in (one.bpm, other.bpm) and (one.metre or "4/4") == (other.metre or "4/4")

    first = last = index
    while first > 0 and alike(musics[first - 1], musics[first]):
        first -= 1
    while last + 1 < len(musics) and alike(musics[last], musics[last + 1]):
        last += 1
    tempos = [each.bpm for each in musics[first : last + 1]]
    if len(set(tempos)) == 1:
        return None
    begin = piece.starts[first]
    glides = [(at - begin, end - begin) for at, end in piece.transitions[first:last]]
    return beats_along(seconds - begin, tempos, glides) - (downbeat * tempos[0] / 60 if first == 0 else 0.0)


def is_whole_bars(music: Music, seconds: float) -> bool:
    """Whether so many seconds are bars, without a rest; also where there is no tempo."""
    if music.bpm is None:
        return True
    bars = seconds * music.bpm / 60 / METRES[music.metre or "4/4"]
    return round(bars) > 0 and abs(bars - round(bars)) < 1e-3
