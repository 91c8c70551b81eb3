"""Parts of a score: which bars and tracks are meant, those bars alone, and new notes put among those that stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mousai.checks import did_you_mean, short
from mousai.request.score import Infill
from mousai.symbolic.score import LENGTH, PITCH, START, Part, Score, notes_of


@dataclass(frozen=True)
class Region:
    """Bars `first` to before `last`, counted from 0, from tick `start` to before `end`, of these of the score's parts."""

    first: int
    last: int
    start: int
    end: int
    parts: tuple[int, ...]


def region_of(score: Score, asked: Infill) -> Region:
    """The region of a score that is asked for; ValueError in one line for what the score does not have."""
    bars = score.bars()
    first, last = asked.bars or (1, len(bars))
    if last > len(bars):
        raise ValueError(f"bars: the score has bars 1 to {len(bars)}, came {first}-{last}")
    parts = tuple(sorted({part_named(score, name) for name in asked.tracks})) or tuple(range(len(score.parts)))
    start, length = bars[last - 1]
    return Region(first - 1, last, bars[first - 1][0], start + length, parts)


def part_named(score: Score, name: str) -> int:
    """Which part a number from 1 on, or a part's name, means."""
    names = [part.name.strip().lower() for part in score.parts]
    if name.isdecimal():
        if 1 <= int(name) <= len(names):
            return int(name) - 1
    elif names.count(name) == 1:
        return names.index(name)
    there = ", ".join(f"{number} {short(part)}" if part else str(number) for number, part in enumerate(names[:12], 1))
    raise ValueError(f"tracks: the score has {there}{' …' if len(names) > 12 else ''}; came {short(name)}{did_you_mean(name, names)}")


def without(score: Score, region: Region) -> Score:
    """A score with nothing that begins in a region."""

    def left(number: int, part: Part) -> Part:
        inside = (part.notes[:, START] >= region.start) & (part.notes[:, START] < region.end)
        return replace(part, notes=part.notes[~inside]) if number in region.parts else part

    return replace(score, parts=tuple(left(number, part) for number, part in enumerate(score.parts)))


def excerpt(score: Score, start: int, end: int, parts: Sequence[int]) -> Score:
    """What begins between two ticks, the bounds of bars, of some parts, as a score of its own with the tempo, metre, key and chord that hold there."""

    def rows(part: Part) -> np.ndarray:
        inside = part.notes[(part.notes[:, START] >= start) & (part.notes[:, START] < end)]
        return inside - np.array([start, 0, 0, 0])

    def events(found: tuple) -> tuple:
        before = [(0, *each[1:]) for each in found if each[0] <= start][-1:]
        return (*before, *((each[0] - start, *each[1:]) for each in found if start < each[0] < end))

    cut = tuple(replace(score.parts[number], notes=rows(score.parts[number])) for number in parts)
    return Score(score.ticks, cut, *(events(found) for found in (score.tempos, score.metres, score.keys, (), score.chords)))


def put_in(part: Part, new: np.ndarray, end: int) -> Part:
    """A part with new notes `(n, 4)` beside its own, which stay as they are: what would sound on their pitch while they do is left out or ends before them, and at `end`."""
    kept = []
    for row in new.tolist():
        own = part.notes[part.notes[:, PITCH] == row[PITCH]]
        if ((own[:, START] <= row[START]) & (own[:, START] + own[:, LENGTH] > row[START])).any():
            continue
        later = own[own[:, START] > row[START], START]
        row[LENGTH] = min(row[LENGTH], end - row[START], int(later.min(initial=end)) - row[START])
        kept.append(row)
    return replace(part, notes=notes_of(np.concatenate([part.notes, np.array(kept, np.int64).reshape(-1, 4)])))
