"""Parts of a score: which bars and tracks are meant, those bars alone, and new notes put among those that stay."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np

from mousai.checks import did_you_mean, short
from mousai.request.score import Infill
from mousai.symbolic.score import LENGTH, PITCH, START, Part, Score, notes_of

APART = 2**40  # ticks, more than any score has: what tells pitches apart in one number


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
    if not bars:
        raise ValueError("the score has no notes; of nothing no part can be made anew")
    first, last = asked.bars or (1, len(bars))
    if last > len(bars):
        raise ValueError(f"bars: the score has bars 1 to {len(bars)}, came {first}-{last}")
    playing = tuple(number for number, part in enumerate(score.parts) if len(part.notes))
    parts = tuple(sorted({number for said in asked.tracks for number in parts_named(score, said)})) or playing
    if silent := [number for number in parts if number not in playing]:
        raise ValueError(f"tracks: {silent[0] + 1} {short(score.parts[silent[0]].name)} has no notes, which would say how it plays; name others")
    start, length = bars[last - 1]
    return Region(first - 1, last, bars[first - 1][0], start + length, parts)


def parts_named(score: Score, said: str) -> list[int]:
    """Which parts a text means: the one of that name, or else those of the numbers and names between its commas."""
    if [part.name.strip().lower() for part in score.parts].count(said) == 1:
        return [part_named(score, said)]
    return [part_named(score, name.strip()) for name in said.split(",") if name.strip()]


def part_named(score: Score, name: str) -> int:
    """Which part a number from 1 on, or a part's name, means."""
    names = [part.name.strip().lower() for part in score.parts]
    if name.isdecimal() and 1 <= int(name) <= len(names):
        return int(name) - 1
    if names.count(name) == 1:
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
    """What begins between two ticks of some parts, as a score of its own with the tempo, metre, key and chord that hold there, and bars where they were."""

    def rows(part: Part) -> np.ndarray:
        first, last = np.searchsorted(part.notes[:, START], (start, end))
        return part.notes[first:last] - np.array([start, 0, 0, 0])

    def events(found: tuple) -> tuple:
        first, last = bisect_right(found, start, key=itemgetter(0)), bisect_left(found, end, key=itemgetter(0))
        before = [(0, *each[1:]) for each in found[max(first - 1, 0) : first]]
        return (*before, *((each[0] - start, *each[1:]) for each in found[first:last]))

    cut = tuple(replace(score.parts[number], notes=rows(score.parts[number])) for number in parts)
    tempos, keys, chords = (events(found) for found in (score.tempos, score.keys, score.chords))
    return Score(score.ticks, cut, tempos, tuple(sorted({*events(score.metres), *bars_cut(score, start, end)})), keys, (), chords)


def bars_cut(score: Score, start: int, end: int) -> list[tuple[int, int, int]]:
    """Metre changes that end the bars which go on over a window's bounds where they end, from its beginning on."""
    found, ticks = [], [tick for tick, _, _ in score.metres]
    for bound in (start, end):
        place = bisect_right(ticks, bound)
        since, (top, bottom) = ticks[place - 1] if place else 0, score.metre_at(bound)
        length = max(1, round(4 * score.ticks * top / bottom))
        over = (bound - since) % length
        cut = bound + (length - over if bound == start else 0)
        if over and cut <= end and not any(tick <= cut for tick in ticks[place : place + 1]):
            found.append((cut - start, top, bottom))
    return found


def put_in(part: Part, new: np.ndarray, end: int) -> Part:
    """A part with new notes `(n, 4)` beside its own, which stay as they are: what would sound on their pitch while they do is left out or ends before them, and at `end`."""
    if not len(new):
        return part
    own = part.notes
    first, last = np.searchsorted(own[:, START], (new[:, START].min(), end))
    sounding = own[:first][own[:first, START] + own[:first, LENGTH] > new[:, START].min()]
    near = np.concatenate([sounding, own[first:last]])
    by_pitch = near[np.lexsort((near[:, START], near[:, PITCH]))]
    starts = by_pitch[:, PITCH] * APART + by_pitch[:, START]
    ends = np.maximum.accumulate(by_pitch[:, PITCH] * APART + by_pitch[:, START] + by_pitch[:, LENGTH])
    places = new[:, PITCH] * APART + new[:, START]
    after = np.searchsorted(starts, places, side="right")
    free = np.concatenate([[-1], ends])[after] <= places  # nothing of that pitch sounds there
    following = np.concatenate([starts, [np.iinfo(np.int64).max]])[after] - places
    new = new.copy()
    new[:, LENGTH] = np.minimum(np.minimum(new[:, LENGTH], end - new[:, START]), following)
    there = np.concatenate([own[first:last], notes_of(new[free])])
    there = there[np.lexsort((there[:, PITCH], there[:, START]))]
    return replace(part, notes=np.concatenate([own[:first], there, own[last:]]))
